// SPDX-License-Identifier: BSD-2-Clause
//! Parses configuration strings as C passes them: [`Conf`] is NULL, a path, or `key=value` pairs separated by commas. A
//! path need not be UTF-8.

use crate::visible::visible;
use crate::{Result, ReturnCode};
use core::ffi::CStr;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest name or configuration string, in bytes. No path and no command that C modules accept through their loader is
/// longer.
const LONGEST: usize = 4096;

/// Checks the length of a text from the caller before it is copied or parsed. Fails with `BAD_VALUE` and a message that names
/// `what`.
pub fn check_length(what: &str, text: &[u8]) -> Result<()> {
    match text.len() {
        ..=LONGEST => Ok(()),
        len => Err(crate::fail!(ReturnCode::BAD_VALUE, "{what} has {len} bytes; at most {LONGEST} are allowed")),
    }
}

/// The configuration string of a module. An empty one is treated as absent.
#[derive(Clone, Copy)]
pub struct Conf<'a>(Option<&'a CStr>);

impl<'a> Conf<'a> {
    /// Wraps the string that C passed; `None` for NULL.
    pub fn new(conf: Option<&'a CStr>) -> Conf<'a> {
        Conf(conf.filter(|text| !text.is_empty()))
    }

    /// Wraps the string that C passed. Fails with `BAD_VALUE` if it has more than 4096 bytes.
    pub fn from_caller(conf: Option<&'a CStr>) -> Result<Conf<'a>> {
        check_length("the configuration string", conf.unwrap_or_default().to_bytes())?;
        Ok(Conf::new(conf))
    }

    /// Returns the whole string, to pass it to another module.
    pub fn c_str(self) -> Option<&'a CStr> {
        self.0
    }

    /// Returns the whole string as a path.
    pub fn path(self) -> Option<&'a Path> {
        self.0.map(|text| Path::new(OsStr::from_bytes(text.to_bytes())))
    }

    /// Returns the whole string as text. Fails with `BAD_VALUE` if it is not UTF-8.
    pub fn text(self) -> Result<Option<&'a str>> {
        self.0
            .map(|text| {
                text.to_str().map_err(|_| {
                    let text = visible(OsStr::from_bytes(text.to_bytes()));
                    crate::fail!(ReturnCode::BAD_VALUE, "the configuration string {text} is not UTF-8")
                })
            })
            .transpose()
    }

    /// Calls `set` for each `key=value`, in order, and ignores empty parts between commas. Fails with `BAD_VALUE` for a
    /// part without '=' and for a key for which `set` returns `None`; the messages list `keys` and `example`.
    pub fn pairs(
        self,
        keys: &[&str],
        example: &str,
        mut set: impl FnMut(&'a str, &'a OsStr) -> Option<Result<()>>,
    ) -> Result<()> {
        let bytes = self.0.map(CStr::to_bytes).unwrap_or_default();
        let mut is_first = true;
        for part in bytes.split(|byte| *byte == b',').filter(|part| !part.is_empty()) {
            let (key, value) = split(part).ok_or_else(|| {
                let comma = if is_first { "" } else { ". A value cannot have a comma" };
                crate::fail!(
                    ReturnCode::BAD_VALUE,
                    "\"{}\" in the configuration string has no '='; expected key=value, such as {example}{comma}",
                    visible(OsStr::from_bytes(part))
                )
            })?;
            key.to_str().and_then(|key| set(key, value)).unwrap_or_else(|| {
                Err(crate::fail!(
                    ReturnCode::BAD_VALUE,
                    "unknown key \"{}\" in the configuration string; valid keys are {}",
                    visible(key),
                    keys.join(", ")
                ))
            })?;
            is_first = false;
        }
        Ok(())
    }
}

fn split(part: &[u8]) -> Option<(&OsStr, &OsStr)> {
    let at = part.iter().position(|byte| *byte == b'=')?;
    Some((OsStr::from_bytes(part.get(..at)?), OsStr::from_bytes(part.get(at + 1..)?)))
}

/// Strips white space from both ends, as the C modules do with strtol(3). Variables that are read from a file often end in a
/// line feed.
fn trimmed(value: &OsStr) -> Option<&str> {
    let is_blank = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    Some(value.to_str()?.trim_matches(is_blank))
}

/// Parses a decimal number in `range`, without a sign or trailing characters; surrounding white space is ignored. Fails
/// with `BAD_VALUE` and a message that names `key`.
pub fn number(key: &str, value: &OsStr, range: core::ops::RangeInclusive<u32>) -> Result<u32> {
    let digits = trimmed(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).filter(|number| range.contains(number)).ok_or_else(|| {
        crate::fail!(
            ReturnCode::BAD_VALUE,
            "{key}={} in the configuration string: expected a number from {} to {}",
            visible(value),
            range.start(),
            range.end()
        )
    })
}

/// Parses `true` or `false`; surrounding white space is ignored. Fails with `BAD_VALUE` and a message that names `key`.
pub fn boolean(key: &str, value: &OsStr) -> Result<bool> {
    trimmed(value).and_then(|value| value.parse().ok()).ok_or_else(|| {
        crate::fail!(
            ReturnCode::BAD_VALUE,
            "{key}={} in the configuration string: expected true or false",
            visible(value)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(conf: &CStr) -> Result<Vec<(&str, &str)>> {
        let mut seen = Vec::new();
        Conf::new(Some(conf)).pairs(&["host"], "host=h", |key, value| {
            (key != "unknown").then(|| {
                seen.push((key, value.to_str().unwrap()));
                Ok(())
            })
        })?;
        Ok(seen)
    }

    #[test]
    fn pairs_are_passed_in_order() {
        assert_eq!(pairs(c"host=::1,port=2321"), Ok(vec![("host", "::1"), ("port", "2321")]));
        assert_eq!(pairs(c"path=a=b"), Ok(vec![("path", "a=b")]));
        assert_eq!(pairs(c",port=1,,"), Ok(vec![("port", "1")]));
        assert_eq!(pairs(c""), Ok(vec![]));
    }

    #[test]
    fn an_invalid_pair_is_a_bad_value() {
        assert_eq!(pairs(c"localhost:2321"), Err(ReturnCode::BAD_VALUE.into()));
        assert_eq!(pairs(c"port=1,host"), Err(ReturnCode::BAD_VALUE.into()));
        assert_eq!(pairs(c"unknown=1"), Err(ReturnCode::BAD_VALUE.into()));
        assert_eq!(pairs(c"\xff=1"), Err(ReturnCode::BAD_VALUE.into()));
    }

    #[test]
    fn numbers_have_only_digits_and_surrounding_white_space() {
        for bad in ["", " ", "0", "65536", "4294967296", "-1", "+1", "1x", "1 x", "1 1", "0x1", "١"] {
            assert_eq!(number("port", bad.as_ref(), 1..=65535), Err(ReturnCode::BAD_VALUE.into()), "{bad:?}");
        }
        for (good, is) in [("65535", 65535), ("02321", 2321), (" 7", 7), ("7 ", 7), ("\t7\r\n", 7), ("\x0b7\x0c", 7)] {
            assert_eq!(number("port", good.as_ref(), 1..=65535), Ok(is), "{good:?}");
        }
        assert_eq!(boolean("keep", "true\r\n".as_ref()), Ok(true));
        assert_eq!(boolean("keep", "yes".as_ref()), Err(ReturnCode::BAD_VALUE.into()));
    }

    #[test]
    fn a_path_need_not_be_utf8() {
        let conf = Conf::new(Some(c"/dev/\xff"));
        assert_eq!(conf.path().map(Path::as_os_str).map(OsStr::len), Some(6));
        assert_eq!(conf.text(), Err(ReturnCode::BAD_VALUE.into()));
        assert_eq!(Conf::new(Some(c"")).path(), None);
    }
}
