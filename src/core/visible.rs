// SPDX-License-Identifier: BSD-2-Clause
//! What somebody wrote, in a message: [`visible`].
#![forbid(unsafe_code)]

use std::ffi::OsStr;

/// A text as it is; in quotes and with escapes when there is something in it that cannot be seen, such as the CR of a file
/// with DOS line ends.
pub fn visible(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref();
    match text.to_str() {
        Some(seen) if seen.trim() == seen && !seen.chars().any(char::is_control) => seen.to_owned(),
        _ => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        for plain in ["", "/dev/tpm0", "two words", "gr\u{fc}n", "\"quoted\""] {
            assert_eq!(visible(plain), plain);
        }
        assert_eq!(visible("/dev/tpm0\r\n"), r#""/dev/tpm0\r\n""#);
        assert_eq!(visible(" 1"), r#"" 1""#);
        assert_eq!(visible("a\tb"), r#""a\tb""#);
        assert_eq!(visible(OsStr::from_bytes(b"\xff")), r#""\xFF""#);
    }
}
