// SPDX-License-Identifier: BSD-2-Clause
//! Parses `name:conf`, the form of `TPM2TOOLS_TCTI` and similar variables: [`NameConf::parse`].

use crate::suggestion::bare;
use core::ffi::CStr;
use core::iter::once;
use core::str::from_utf8;
use std::ffi::CString;
use tcti_core::conf::check_length;
use tcti_core::{Result, ReturnCode, fail};

/// How many TCTIs that open another one may be inside one another. Useful strings have two; each costs a context and stack,
/// and the shortest name would fit 800 times.
const MOST_NESTED: usize = 8;

/// The name of a module and its configuration string. Empty parts are treated as absent.
#[derive(Debug)]
pub struct NameConf<'a> {
    name: Option<CString>,
    conf: Option<&'a CStr>,
}

impl<'a> NameConf<'a> {
    /// Splits the text at the first ':'. Fails with `BAD_VALUE` if the text is longer than a path may be, or if the name is
    /// missing before a configuration string.
    pub fn parse(text: Option<&'a CStr>) -> Result<NameConf<'a>> {
        let Some(text) = text else { return NameConf::new(None, None) };
        let bytes = text.to_bytes();
        let limit = usize::try_from(libc::PATH_MAX).unwrap_or_default() - 1;
        if bytes.len() > limit {
            return Err(fail!(
                ReturnCode::BAD_VALUE,
                "the name of a TCTI has {} bytes; at most {limit} are allowed",
                bytes.len()
            ));
        }
        let colon = bytes.iter().position(|&byte| byte == b':');
        let name = bytes.get(..colon.unwrap_or(bytes.len())).unwrap_or_default();
        let conf = colon.and_then(|colon| {
            let rest = text.to_bytes_with_nul().get(colon + 1..)?;
            CStr::from_bytes_with_nul(rest).ok()
        });
        NameConf::combine(name, conf)
    }

    /// Combines both parts. Fails with `BAD_VALUE` for a configuration string without a name, for a part that is too long, and
    /// for too many TCTIs inside one another.
    pub fn new(name: Option<&CStr>, conf: Option<&'a CStr>) -> Result<NameConf<'a>> {
        NameConf::combine(name.unwrap_or_default().to_bytes(), conf)
    }

    fn combine(name: &[u8], conf: Option<&'a CStr>) -> Result<NameConf<'a>> {
        check_length("the name of a TCTI", name)?;
        check_length("the configuration string", conf.unwrap_or_default().to_bytes())?;
        let conf = conf.filter(|conf| !conf.is_empty());
        if let (b"", Some(conf)) = (name, conf) {
            return Err(fail!(ReturnCode::BAD_VALUE, "the TCTI \":{}\" has no name before the ':'", crate::show(conf)));
        }
        // Counted in the text, because the libraries share no state.
        let inner = conf.unwrap_or_default().to_bytes().split(|byte| *byte == b':');
        let nested = once(name).chain(inner).take_while(|name| opens_another(name)).count();
        if nested > MOST_NESTED {
            return Err(fail!(
                ReturnCode::BAD_VALUE,
                "the configuration string nests pcap or tctildr {nested} times; at most {MOST_NESTED} are allowed"
            ));
        }
        Ok(NameConf { name: CString::new(name).ok().filter(|name| !name.is_empty()), conf })
    }

    /// Returns the name.
    pub fn name(&self) -> Option<&CStr> {
        self.name.as_deref()
    }

    /// Returns the configuration string.
    pub fn conf(&self) -> Option<&'a CStr> {
        self.conf
    }
}

/// Returns whether this is a name or a path of a TCTI that opens another one, which its configuration string names.
fn opens_another(name: &[u8]) -> bool {
    let file = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    matches!(from_utf8(file).map(bare), Ok("pcap" | "tctildr"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &CStr) -> Result<(Option<CString>, Option<&CStr>)> {
        NameConf::parse(Some(text)).map(|parsed| (parsed.name, parsed.conf))
    }

    #[test]
    fn the_text_is_split_at_the_first_colon() {
        assert_eq!(parts(c"swtpm:host=::1"), Ok((Some(c"swtpm".to_owned()), Some(c"host=::1"))));
        assert_eq!(parts(c"pcap:device:/dev/tpm0"), Ok((Some(c"pcap".to_owned()), Some(c"device:/dev/tpm0"))));
        assert_eq!(parts(c"cmd:\xff"), Ok((Some(c"cmd".to_owned()), Some(c"\xff"))));
    }

    #[test]
    fn empty_parts_are_absent() {
        assert_eq!(parts(c""), Ok((None, None)));
        assert_eq!(parts(c":"), Ok((None, None)));
        assert_eq!(parts(c"swtpm"), Ok((Some(c"swtpm".to_owned()), None)));
        assert_eq!(parts(c"swtpm:"), Ok((Some(c"swtpm".to_owned()), None)));
        assert!(NameConf::parse(None).unwrap().name().is_none());
    }

    #[test]
    fn a_conf_without_a_name_is_a_bad_value() {
        assert_eq!(parts(c":/dev/tpm0"), Err(ReturnCode::BAD_VALUE.into()));
        assert_eq!(NameConf::new(None, Some(c"/dev/tpm0")).err(), Some(ReturnCode::BAD_VALUE.into()));
    }

    #[test]
    fn a_text_longer_than_a_path_is_a_bad_value() {
        let text = |len| CString::new(vec![b'x'; len]).unwrap();
        assert!(NameConf::parse(Some(&text(4095))).is_ok());
        assert_eq!(NameConf::parse(Some(&text(4096))).err(), Some(ReturnCode::BAD_VALUE.into()));
        assert!(NameConf::new(Some(&text(4096)), Some(&text(4096))).is_ok());
        assert_eq!(NameConf::new(Some(&text(4097)), None).err(), Some(ReturnCode::BAD_VALUE.into()));
        assert_eq!(NameConf::new(Some(c"cmd"), Some(&text(4097))).err(), Some(ReturnCode::BAD_VALUE.into()));
    }

    #[test]
    fn the_depth_of_nesting_is_limited() {
        for name in
            ["pcap", "tctildr", "tcti-pcap", "libtss2-tcti-pcap.so.0", "/lib/libtss2-tctildr.so.0.0.0", "./pcap.so"]
        {
            let nested = |count| CString::new(format!("{name}:").repeat(count) + "null").unwrap();
            assert!(NameConf::parse(Some(&nested(8))).is_ok());
            let error = NameConf::parse(Some(&nested(9))).unwrap_err();
            assert_eq!(error.code(), ReturnCode::BAD_VALUE);
            assert_eq!(
                error.message(),
                "the configuration string nests pcap or tctildr 9 times; at most 8 are allowed"
            );
        }
        assert!(NameConf::parse(Some(&CString::new("cmd:".to_owned() + &"pcap:".repeat(100)).unwrap())).is_ok());
    }
}
