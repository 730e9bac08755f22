// SPDX-License-Identifier: BSD-2-Clause
//! Quotes text from outside in messages: [`visible`].
#![forbid(unsafe_code)]

use crate::log::is_control;
use std::ffi::OsStr;

/// Returns the text unchanged, or quoted and escaped if it contains invisible characters, such as the CR of a file with DOS
/// line endings.
pub fn visible(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref();
    match text.to_str() {
        Some(seen) if seen.trim() == seen && !seen.contains(is_control) => seen.to_owned(),
        _ => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn invisible_characters_are_escaped() {
        for plain in ["", "/dev/tpm0", "two words", "gr\u{fc}n", "\"quoted\""] {
            assert_eq!(visible(plain), plain);
        }
        assert_eq!(visible("/dev/tpm0\r\n"), r#""/dev/tpm0\r\n""#);
        assert_eq!(visible("/dev/\u{202e}tpm0"), r#""/dev/\u{202e}tpm0""#);
        assert_eq!(visible(" 1"), r#"" 1""#);
        assert_eq!(visible("a\tb"), r#""a\tb""#);
        assert_eq!(visible(OsStr::from_bytes(b"\xff")), r#""\xFF""#);
    }
}
