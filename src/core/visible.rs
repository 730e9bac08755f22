// SPDX-License-Identifier: BSD-2-Clause
//! Quotes text from outside in messages: [`visible`].
#![forbid(unsafe_code)]

use crate::log::is_control;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The longest text that is shown whole, in bytes. A configuration string can have 4096.
const LONGEST: usize = 256;

/// Returns the text unchanged, or quoted and escaped if it contains invisible characters, such as the CR of a file with DOS
/// line endings. Shows only the beginning and the size of a long text.
pub fn visible(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref();
    match text.as_bytes().get(..LONGEST) {
        Some(start) if text.len() > LONGEST => {
            // Ends before the last character, which may be incomplete.
            let end = start.iter().rposition(|byte| byte & 0xc0 != 0x80).unwrap_or(LONGEST);
            let start = OsStr::from_bytes(start.get(..end).unwrap_or_default());
            format!("{}... ({} bytes)", escaped(start), text.len())
        }
        _ => escaped(text),
    }
}

fn escaped(text: &OsStr) -> String {
    match text.to_str() {
        Some(seen) if seen.trim() == seen && !seen.contains(is_control) => seen.to_owned(),
        _ => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_long_text_is_cut() {
        let text = |count| "\u{fc}".repeat(count);
        assert_eq!(visible(text(128)), text(128));
        assert_eq!(visible(text(129)), text(127) + "... (258 bytes)");
        assert_eq!(visible("x".to_owned() + &text(128)), "x".to_owned() + &text(127) + "... (257 bytes)");
        assert!(visible(OsStr::from_bytes(&[0x80; 4096])).len() < 1100);
    }
}
