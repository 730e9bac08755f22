// SPDX-License-Identifier: BSD-2-Clause
//! Extended regular expressions of POSIX, as in grep -E, compiled by the C library: [`PosixRegex`].
#![deny(unsafe_code)]

mod sys;

use core::ffi::CStr;
use std::ffi::CString;
use tcti_core::{Result, ReturnCode, fail};

/// An extended regular expression.
pub struct PosixRegex {
    text: String,
    compiled: sys::Compiled,
}

impl PosixRegex {
    /// Compiles an expression; `BAD_VALUE` when it is invalid.
    pub fn parse(text: &CStr) -> Result<PosixRegex> {
        let compiled = sys::compile(text).map_err(|reason| {
            fail!(ReturnCode::BAD_VALUE, "{text:?} is not an extended regular expression for a serial number: {reason}")
        })?;
        Ok(PosixRegex { text: text.to_string_lossy().into_owned(), compiled })
    }

    /// Returns whether any part of `subject` matches.
    pub fn matches(&self, subject: &str) -> bool {
        CString::new(subject).is_ok_and(|subject| self.compiled.matches(&subject))
    }

    /// Returns the source text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_matches_unless_it_is_anchored() {
        let posix_regex = |text| PosixRegex::parse(text).unwrap();
        assert!(posix_regex(c"BA7").matches("0BA7E") && !posix_regex(c"^BA7").matches("0BA7E"));
        assert!(posix_regex(c"^(00A1|00B2)$").matches("00B2") && !posix_regex(c"^(00A1|00B2)$").matches("00B20"));
        assert!(posix_regex(c"^0+[A-F]{2}$").matches("000AF") && !posix_regex(c"^0+[A-F]{2}$").matches("000A"));
        assert!(posix_regex(c".").matches("x") && !posix_regex(c".").matches(""));
        assert!(!posix_regex(c"x").matches("x\0x"));
    }

    #[test]
    fn an_invalid_expression_is_a_bad_value() {
        for text in [c"(", c"[a", c"a{2,1}", c"\\"] {
            assert_eq!(PosixRegex::parse(text).err(), Some(ReturnCode::BAD_VALUE.into()), "{text:?}");
        }
    }
}
