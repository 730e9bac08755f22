// SPDX-License-Identifier: BSD-2-Clause
//! Configuration strings as C passes them: NULL, a path, or `key=value` pairs between commas. A path need not be UTF-8.

use crate::rc::{Rc, Result};
use core::ffi::CStr;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The configuration string of a module. Empty counts as absent.
#[derive(Clone, Copy)]
pub struct Conf<'a>(Option<&'a CStr>);

impl<'a> Conf<'a> {
    /// From what C passed.
    pub fn new(conf: Option<&'a CStr>) -> Conf<'a> {
        Conf(conf.filter(|text| !text.is_empty()))
    }

    /// The whole string, for another module.
    pub fn c_str(self) -> Option<&'a CStr> {
        self.0
    }

    /// The whole string as a path.
    pub fn path(self) -> Option<&'a Path> {
        self.0.map(|text| Path::new(OsStr::from_bytes(text.to_bytes())))
    }

    /// The whole string as text; `BAD_VALUE` when it is not UTF-8.
    pub fn text(self) -> Result<Option<&'a str>> {
        self.0
            .map(|text| {
                text.to_str().map_err(|_| crate::fail!(Rc::BAD_VALUE, "the configuration string {text:?} is not UTF-8"))
            })
            .transpose()
    }

    /// Calls `set` for each `key=value`, in order; empty parts between commas do not count. `BAD_VALUE` for a
    /// part without '='; `set` answers `None` for a key it does not know.
    pub fn pairs(self, mut set: impl FnMut(&'a str, &'a str) -> Option<Result<()>>) -> Result<()> {
        for part in self.text()?.unwrap_or_default().split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| {
                crate::fail!(Rc::BAD_VALUE, "\"{part}\" in the configuration string has no '='; wanted is key=value")
            })?;
            set(key, value).unwrap_or_else(|| {
                Err(crate::fail!(Rc::BAD_VALUE, "unknown key \"{key}\" in the configuration string"))
            })?;
        }
        Ok(())
    }
}

/// A number in the given range, without sign, blanks or trailing characters; `BAD_VALUE` names `key`.
pub fn number(key: &str, value: &str, range: core::ops::RangeInclusive<u32>) -> Result<u32> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|number| digits && range.contains(number)).ok_or_else(|| {
        crate::fail!(
            Rc::BAD_VALUE,
            "{key}={value} in the configuration string: wanted is a number from {} to {}",
            range.start(),
            range.end()
        )
    })
}

/// `true` or `false`; `BAD_VALUE` names `key`.
pub fn boolean(key: &str, value: &str) -> Result<bool> {
    value
        .parse()
        .map_err(|_| crate::fail!(Rc::BAD_VALUE, "{key}={value} in the configuration string: wanted is true or false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(conf: &CStr) -> Result<Vec<(&str, &str)>> {
        let mut seen = Vec::new();
        Conf::new(Some(conf)).pairs(|key, value| {
            (key != "unknown").then(|| {
                seen.push((key, value));
                Ok(())
            })
        })?;
        Ok(seen)
    }

    #[test]
    fn pairs_come_in_order() {
        assert_eq!(pairs(c"host=::1,port=2321"), Ok(vec![("host", "::1"), ("port", "2321")]));
        assert_eq!(pairs(c"path=a=b"), Ok(vec![("path", "a=b")]));
        assert_eq!(pairs(c",port=1,,"), Ok(vec![("port", "1")]));
        assert_eq!(pairs(c""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_pair_is_a_bad_value() {
        assert_eq!(pairs(c"localhost:2321"), Err(Rc::BAD_VALUE));
        assert_eq!(pairs(c"port=1,host"), Err(Rc::BAD_VALUE));
        assert_eq!(pairs(c"unknown=1"), Err(Rc::BAD_VALUE));
        assert_eq!(pairs(c"host=\xff"), Err(Rc::BAD_VALUE));
    }

    #[test]
    fn numbers_have_nothing_but_digits() {
        for bad in ["", "0", "65536", "4294967296", "-1", "+1", " 1", "1 ", "1x", "0x1", "١"] {
            assert_eq!(number("port", bad, 1..=65535), Err(Rc::BAD_VALUE), "{bad:?}");
        }
        assert_eq!(number("port", "65535", 1..=65535), Ok(65535));
        assert_eq!(number("port", "02321", 1..=65535), Ok(2321));
    }

    #[test]
    fn a_path_need_not_be_text() {
        let conf = Conf::new(Some(c"/dev/\xff"));
        assert_eq!(conf.path().map(Path::as_os_str).map(OsStr::len), Some(6));
        assert_eq!(conf.text(), Err(Rc::BAD_VALUE));
        assert_eq!(Conf::new(Some(c"")).path(), None);
    }
}
