// SPDX-License-Identifier: BSD-2-Clause
//! Extended regular expressions, as in grep -E, without collating symbols and back references: [`PosixRegex`]. Memory and time
//! are bounded for every expression: regcomp(3) of glibc takes gigabytes for nested bounds and overflows the stack for deep
//! nesting. The expression becomes a program of steps, and all its threads advance together by one byte of the subject.

use core::ffi::CStr;
use std::ffi::OsStr;
use std::mem::{replace, swap, take};
use std::os::unix::ffi::OsStrExt;
use tcti_core::visible::visible;
use tcti_core::{Result, ReturnCode, fail};

/// An extended regular expression.
pub struct PosixRegex {
    steps: Vec<Step>,
    sets: Vec<Set>,
    /// The source text, as messages show it.
    shown: String,
}

/// A step of a thread. A thread at the end of the program has found a match.
#[derive(Clone, Copy)]
enum Step {
    /// Takes this byte.
    Byte(u8),
    /// Takes one byte of the set with this number.
    Set(usize),
    /// Passes only before the first byte.
    Start,
    /// Passes only after the last byte.
    End,
    /// Continues at this distance; back if the sum wraps around.
    Jump(usize),
    /// Continues at the next step and at this distance.
    Fork(usize),
}

/// A set of bytes.
#[derive(Clone, Copy)]
struct Set {
    /// One bit for each byte of ASCII.
    ascii: u128,
    /// Whether all other bytes belong to it.
    others: bool,
}

/// How many steps are made at most. Literal text and alternatives need at most two for each byte of a configuration string,
/// of which there are 4096.
const MOST_STEPS: usize = 8192;

/// How deep parentheses may be nested.
const MOST_NESTED: usize = 32;

/// Why a text is not an expression.
type Flaw = &'static str;
type Parsed<T> = core::result::Result<T, Flaw>;

impl PosixRegex {
    /// Compiles an expression; `BAD_VALUE` when it is invalid.
    pub fn parse(text: &CStr) -> Result<PosixRegex> {
        let shown = visible(OsStr::from_bytes(text.to_bytes()));
        let mut parser = Parser { rest: text.to_bytes(), sets: Vec::new(), steps_left: MOST_STEPS, nested: 0 };
        match parser.expression() {
            Ok(steps) => Ok(PosixRegex { steps, sets: parser.sets, shown }),
            Err(flaw) => Err(fail!(
                ReturnCode::BAD_VALUE,
                "\"{shown}\" is not an extended regular expression for a serial number: {flaw}"
            )),
        }
    }

    /// Returns whether any part of `subject` matches.
    pub fn matches(&self, subject: &str) -> bool {
        let subject = subject.as_bytes();
        let (mut threads, mut next) = (Vec::new(), Vec::new());
        let mut visited = vec![false; self.steps.len()];
        (0..=subject.len()).any(|at| {
            let byte = subject.get(at);
            visited.fill(false);
            threads.push(0); // a match may begin before every byte
            while let Some(step) = threads.pop() {
                match visited.get_mut(step).map(|visited| replace(visited, true)) {
                    None => return true,
                    Some(true) => continue,
                    Some(false) => {}
                }
                match self.steps.get(step) {
                    Some(Step::Byte(wanted)) if byte == Some(wanted) => next.push(step + 1),
                    Some(Step::Set(set)) if self.sets.get(*set).is_some_and(|set| set.contains(byte)) => {
                        next.push(step + 1);
                    }
                    Some(Step::Start) if at == 0 => threads.push(step + 1),
                    Some(Step::End) if byte.is_none() => threads.push(step + 1),
                    Some(Step::Jump(by)) => threads.push(step.wrapping_add(*by)),
                    Some(Step::Fork(by)) => threads.extend([step + 1, step.wrapping_add(*by)]),
                    _ => {}
                }
            }
            swap(&mut threads, &mut next);
            false
        })
    }

    /// Returns the source text for messages.
    pub fn text(&self) -> &str {
        &self.shown
    }
}

impl Set {
    fn contains(self, byte: Option<&u8>) -> bool {
        byte.is_some_and(|byte| if byte.is_ascii() { self.ascii & bit(*byte) != 0 } else { self.others })
    }
}

/// Returns the bit of a byte of ASCII.
fn bit(byte: u8) -> u128 {
    1_u128.checked_shl(byte.into()).unwrap_or_default()
}

/// Reads an expression, one function for each rule of its grammar (POSIX.1-2017, "Extended Regular Expressions").
struct Parser<'a> {
    rest: &'a [u8],
    sets: Vec<Set>,
    steps_left: usize,
    nested: usize,
}

impl Parser<'_> {
    fn expression(&mut self) -> Parsed<Vec<Step>> {
        let steps = self.alternatives()?;
        if self.rest.is_empty() { Ok(steps) } else { Err("unmatched )") }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn next_is(&mut self, text: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Counts steps before they are made.
    fn spend(&mut self, steps: usize) -> Parsed<()> {
        self.steps_left = self.steps_left.checked_sub(steps).ok_or("it is too large")?;
        Ok(())
    }

    /// Sequences between '|'.
    fn alternatives(&mut self) -> Parsed<Vec<Step>> {
        let mut steps = self.sequence()?;
        let mut ends = Vec::new();
        while self.next_is(b"|") {
            self.spend(2)?;
            ends.push(steps.len());
            steps.append(&mut self.sequence()?);
        }
        if ends.is_empty() {
            return Ok(steps);
        }
        let mut left = steps.len() + 2 * ends.len();
        let mut start = 0;
        let mut joined = Vec::with_capacity(left);
        for end in ends {
            let length = end - start;
            joined.push(Step::Fork(length + 2));
            joined.extend(steps.get(start..end).unwrap_or_default());
            left -= length + 2;
            joined.push(Step::Jump(left + 1));
            start = end;
        }
        joined.extend(steps.get(start..).unwrap_or_default());
        Ok(joined)
    }

    /// Atoms, each with its repetitions.
    fn sequence(&mut self) -> Parsed<Vec<Step>> {
        let mut steps = Vec::new();
        while !matches!(self.rest.first(), None | Some(b'|' | b')')) {
            let mut atom = self.atom()?;
            while let Some((least, most)) = self.repetition()? {
                atom = self.repeated(&atom, least, most)?;
            }
            steps.append(&mut atom);
        }
        Ok(steps)
    }

    fn atom(&mut self) -> Parsed<Vec<Step>> {
        let step = match self.next() {
            Some(b'(') => {
                self.nested += 1;
                if self.nested > MOST_NESTED {
                    return Err("it is nested too deeply");
                }
                let group = self.alternatives()?;
                self.nested -= 1;
                return if self.next_is(b")") { Ok(group) } else { Err("unmatched (") };
            }
            Some(b'^') => Step::Start,
            Some(b'$') => Step::End,
            Some(b'.') => self.set(Set { ascii: u128::MAX, others: true }),
            Some(b'[') => {
                let set = self.bracket()?;
                self.set(set)
            }
            Some(b'*' | b'+' | b'?' | b'{') => return Err("nothing to repeat"),
            Some(b'\\') => match self.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => Step::Byte(escaped),
                _ => return Err("a backslash without a special character"),
            },
            Some(literal) => Step::Byte(literal),
            None => return Ok(Vec::new()),
        };
        self.spend(1)?;
        Ok(vec![step])
    }

    fn set(&mut self, set: Set) -> Step {
        self.sets.push(set);
        Step::Set(self.sets.len() - 1)
    }

    /// Returns the least and the greatest number of repetitions, if one is next.
    fn repetition(&mut self) -> Parsed<Option<(usize, Option<usize>)>> {
        let range = match self.rest.first() {
            Some(b'*') => (0, None),
            Some(b'+') => (1, None),
            Some(b'?') => (0, Some(1)),
            Some(b'{') => return self.bounds().map(Some),
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(range))
    }

    /// `{2}`, `{2,}` or `{2,3}`.
    fn bounds(&mut self) -> Parsed<(usize, Option<usize>)> {
        const FLAW: Flaw = "malformed {}";
        let end = self.rest.iter().position(|byte| *byte == b'}').ok_or(FLAW)?;
        let text = self.rest.get(1..end).and_then(|text| core::str::from_utf8(text).ok()).ok_or(FLAW)?;
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse::<usize>().map_err(|_| FLAW),
            false => Err(FLAW),
        };
        match text.split_once(',') {
            None => number(text).map(|count| (count, Some(count))),
            Some((least, "")) => Ok((number(least)?, None)),
            Some((least, most)) => {
                let (least, most) = (number(least)?, number(most)?);
                if least <= most { Ok((least, Some(most))) } else { Err(FLAW) }
            }
        }
    }

    fn repeated(&mut self, atom: &[Step], least: usize, most: Option<usize>) -> Parsed<Vec<Step>> {
        let length = atom.len();
        let optional = most.map_or(1, |most| most - least);
        self.spend(least.saturating_mul(length).saturating_add(optional.saturating_mul(length + 2)))?;
        let mut steps = atom.repeat(least);
        match most {
            Some(_) => {
                for _ in 0..optional {
                    steps.push(Step::Fork(length + 1));
                    steps.extend(atom);
                }
            }
            None if least > 0 => steps.push(Step::Fork(length.wrapping_neg())),
            None => {
                steps.push(Step::Fork(length + 2));
                steps.extend(atom);
                steps.push(Step::Jump((length + 1).wrapping_neg()));
            }
        }
        Ok(steps)
    }

    /// The rest of `[...]`: bytes of ASCII, ranges and classes.
    fn bracket(&mut self) -> Parsed<Set> {
        let is_negated = self.next_is(b"^");
        let (mut ascii, mut is_first) = (0, true);
        loop {
            if !take(&mut is_first) && self.next_is(b"]") {
                let set = Set { ascii, others: false };
                return Ok(if is_negated { Set { ascii: !ascii, others: true } } else { set });
            }
            if self.next_is(b"[:") {
                ascii |= self.class()?;
                continue;
            }
            let low = self.in_bracket()?;
            let is_range = matches!(self.rest, [b'-', after, ..] if *after != b']');
            let high = if is_range && self.next_is(b"-") { self.in_bracket()? } else { low };
            if low > high {
                return Err("a range in [] that ends before it begins");
            }
            (low..=high).for_each(|byte| ascii |= bit(byte));
        }
    }

    fn in_bracket(&mut self) -> Parsed<u8> {
        match (self.next(), self.rest.first()) {
            (Some(b'['), Some(b'.' | b'=' | b':')) => Err("a collating symbol in []"),
            (Some(byte), _) if byte.is_ascii() => Ok(byte),
            (Some(_), _) => Err("a character in [] that is not ASCII"),
            (None, _) => Err("unmatched ["),
        }
    }

    /// The rest of a class, such as `[:xdigit:]`.
    fn class(&mut self) -> Parsed<u128> {
        type Class = (&'static [u8], fn(&u8) -> bool);
        const CLASSES: [Class; 6] = [
            (b"alnum:]", u8::is_ascii_alphanumeric),
            (b"alpha:]", u8::is_ascii_alphabetic),
            (b"digit:]", u8::is_ascii_digit),
            (b"lower:]", u8::is_ascii_lowercase),
            (b"upper:]", u8::is_ascii_uppercase),
            (b"xdigit:]", u8::is_ascii_hexdigit),
        ];
        let (_, contains) = CLASSES.iter().find(|(name, _)| self.next_is(name)).ok_or("an unknown class in []")?;
        Ok((0..128).filter(contains).fold(0, |ascii, byte| ascii | bit(byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    /// Checks which of two subjects match.
    fn check(text: &CStr, matching: &[&str], others: &[&str]) {
        let regex = PosixRegex::parse(text).unwrap();
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
            c"[[:word:]]",
            c"[[.a.]]",
            c"[[=a=]]",
            c"[\u{fc}]",
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
            c"\\w",
        ] {
            assert_eq!(PosixRegex::parse(text).err(), Some(ReturnCode::BAD_VALUE.into()), "{text:?}");
        }
    }

    #[test]
    fn every_expression_is_bounded() {
        let nested = |count, after: &str| CString::new("(".repeat(count) + "a" + &after.repeat(count)).unwrap();
        assert!(PosixRegex::parse(&nested(32, ")")).is_ok());
        for (count, after) in [(33, ")"), (2000, ")"), (2, "){255}"), (4, "){255}"), (1, "){99999}")] {
            assert_eq!(PosixRegex::parse(&nested(count, after)).err(), Some(ReturnCode::BAD_VALUE.into()), "{after}");
        }
        for text in
            ["a".repeat(4096), "|".repeat(4096), "a|".repeat(2048), "a*".repeat(2048), "0123456789ABCDEF|".repeat(240)]
        {
            assert!(PosixRegex::parse(&CString::new(text).unwrap()).unwrap().steps.len() <= MOST_STEPS);
        }
    }
}
