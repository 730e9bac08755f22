// SPDX-License-Identifier: BSD-2-Clause
//! The regular expression that selects a stick by its serial number: [`Pattern`]. Memory and time are bounded for every
//! expression; regcomp(3) of glibc takes gigabytes for nested bounds, and overflows the stack for deep nesting.
#![forbid(unsafe_code)]

use core::ffi::CStr;
use core::fmt::Display;
use regex_lite::{Regex, RegexBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use tcti_core::visible::visible;
use tcti_core::{Result, ReturnCode, fail};

/// The largest compiled expression in bytes.
const SIZE_LIMIT: usize = 256 << 10;
/// How deep parentheses may be nested.
const NEST_LIMIT: u32 = 32;
/// The longest expression in bytes.
const LONGEST: usize = 2048;
/// The memory in bytes that suffices to compile any expression, and to match it.
const MEMORY: usize = 640 << 10;

/// A compiled expression.
pub struct Pattern {
    regex: Regex,
    /// The source text, as messages show it.
    shown: String,
}

impl Pattern {
    /// Compiles an expression. Fails with `BAD_VALUE` if it is invalid or too large.
    pub fn parse(text: &CStr) -> Result<Pattern> {
        // The engine cannot report a lack of memory.
        let enough = Vec::<u8>::new().try_reserve_exact(MEMORY);
        enough.map_err(|_| fail!(ReturnCode::MEMORY, "no memory for a regular expression"))?;
        let shown = visible(OsStr::from_bytes(text.to_bytes()));
        let invalid = |flaw: &dyn Display| {
            fail!(
                ReturnCode::BAD_VALUE,
                "\"{shown}\" is not an extended regular expression for a serial number: {flaw}"
            )
        };
        if text.to_bytes().len() > LONGEST {
            return Err(invalid(&format_args!("it is longer than {LONGEST} bytes")));
        }
        let mut builder = RegexBuilder::new(text.to_str().map_err(|error| invalid(&error))?);
        let regex = builder.size_limit(SIZE_LIMIT).nest_limit(NEST_LIMIT).build().map_err(|error| invalid(&error))?;
        Ok(Pattern { regex, shown })
    }

    /// Returns whether any part of `subject` matches.
    pub fn matches(&self, subject: &str) -> bool {
        self.regex.is_match(subject)
    }

    /// Returns the source text for messages.
    pub fn text(&self) -> &str {
        &self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    /// Checks which of two subjects match.
    fn check(text: &CStr, matching: &[&str], others: &[&str]) {
        let regex = Pattern::parse(text).unwrap();
        matching.iter().for_each(|subject| assert!(regex.matches(subject), "{text:?} {subject}"));
        others.iter().for_each(|subject| assert!(!regex.matches(subject), "{text:?} {subject}"));
    }

    #[test]
    fn any_part_matches_unless_it_is_anchored() {
        check(c"BA7", &["0BA7E", "BA7", "BBA7"], &["BA", "B7A"]);
        check(c"^BA7", &["BA7E"], &["0BA7E"]);
        check(c"^(00A1|00B2)$", &["00A1", "00B2"], &["00B20", "000B2"]);
        check(c"^0+[A-F]{2}$", &["000AF"], &["000A", "AF", "0AFF"]);
        check(c".", &["x"], &[""]);
        check(c"x", &["\0x"], &["\0"]);
    }

    #[test]
    fn alternatives_and_repetitions_match_as_in_grep() {
        check(c"^(1|22|333)x$", &["1x", "22x", "333x"], &["x", "2x", "3333x"]);
        check(c"^a(b|)c(|d)$", &["abc", "ac", "acd"], &["a", "abd"]);
        check(c"^(ab*)*c?$", &["", "a", "abbabc", "aac"], &["b", "cc"]);
        check(c"^(a?b)+$", &["b", "abb"], &["", "a"]);
        check(c"^(ab){2,3}$", &["abab", "ababab"], &["ab", "abababab"]);
        check(c"^a{2,}$", &["aa", "aaaa"], &["a"]);
        check(c"^a{0}b{1}$", &["b"], &["ab", "bb"]);
        check(c"(^a|b$)", &["ax", "xb"], &["xa", "bx"]);
        check(c"(a*)*(b|c**)+$", &["x"], &[]);
        check(c"^[^0-9]+$", &["abc", "\u{fc}"], &["a0c", ""]);
        check(c"^[]a-]+[[:digit:]X]$", &["]-a1", "aX"], &["b1", "a"]);
        check(c"^[[:xdigit:]]{4}$", &["00fF"], &["00fG"]);
        check(c"^\\.\\$\u{fc}$", &[".$\u{fc}"], &["x$\u{fc}"]);
    }

    #[test]
    fn an_invalid_expression_is_a_bad_value() {
        for text in [
            c"(",
            c")",
            c"a)",
            c"[a",
            c"[]",
            c"[z-a]",
            c"[[.a.]]",
            c"[[=a=]]",
            c"a{2,1}",
            c"a{",
            c"a{}",
            c"a{,2}",
            c"a{+1}",
            c"a{99999999999999999999}",
            c"*",
            c"(*a)",
            c"a|+",
            c"{2}",
            c"\\",
            c"\\1",
        ] {
            assert_eq!(Pattern::parse(text).err(), Some(ReturnCode::BAD_VALUE.into()), "{text:?}");
        }
    }

    #[test]
    fn every_expression_is_bounded() {
        let nested = |count, after: &str| CString::new("(".repeat(count) + "a" + &after.repeat(count)).unwrap();
        assert!(Pattern::parse(&nested(31, ")")).is_ok());
        for (count, after) in [(40, ")"), (2000, ")"), (2, "){255}"), (4, "){255}"), (1, "){99999}")] {
            assert_eq!(Pattern::parse(&nested(count, after)).err(), Some(ReturnCode::BAD_VALUE.into()), "{after}");
        }
        for text in
            ["a".repeat(2048), "|".repeat(2048), "a|".repeat(1024), "a*".repeat(1024), "0123456789ABCDEF|".repeat(120)]
        {
            assert!(Pattern::parse(&CString::new(text).unwrap()).is_ok());
        }
    }
}
