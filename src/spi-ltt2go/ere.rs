// SPDX-License-Identifier: BSD-2-Clause
//! Extended regular expressions, by the C library: those of POSIX, as users of grep -E know them.
#![deny(unsafe_code)]

mod sys;

use core::ffi::CStr;
use std::ffi::CString;
use tcti_core::{Result, ReturnCode, fail};

/// An extended regular expression.
pub struct Ere {
    text: String,
    compiled: sys::Compiled,
}

impl Ere {
    /// `BAD_VALUE` when `text` is none.
    pub fn parse(text: &CStr) -> Result<Ere> {
        let compiled = sys::compile(text).map_err(|reason| {
            fail!(ReturnCode::BAD_VALUE, "{text:?} is no extended regular expression for a serial number: {reason}")
        })?;
        Ok(Ere { text: text.to_string_lossy().into_owned(), compiled })
    }

    /// Whether a part of `subject` matches.
    pub fn matches(&self, subject: &str) -> bool {
        CString::new(subject).is_ok_and(|subject| self.compiled.matches(&subject))
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_matches_unless_it_is_anchored() {
        let ere = |text| Ere::parse(text).unwrap();
        assert!(ere(c"BA7").matches("0BA7E") && !ere(c"^BA7").matches("0BA7E"));
        assert!(ere(c"^(00A1|00B2)$").matches("00B2") && !ere(c"^(00A1|00B2)$").matches("00B20"));
        assert!(ere(c"^0+[A-F]{2}$").matches("000AF") && !ere(c"^0+[A-F]{2}$").matches("000A"));
        assert!(ere(c".").matches("x") && !ere(c".").matches(""));
        assert!(!ere(c"x").matches("x\0x"));
    }

    #[test]
    fn what_is_none_is_a_bad_value() {
        for text in [c"(", c"[a", c"a{2,1}", c"\\"] {
            assert_eq!(Ere::parse(text).err(), Some(ReturnCode::BAD_VALUE.into()), "{text:?}");
        }
    }
}
