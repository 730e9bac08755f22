// SPDX-License-Identifier: BSD-2-Clause
//! `name:conf`, as people write it into `TPM2TOOLS_TCTI` and its likes.

use core::ffi::CStr;
use std::ffi::CString;
use tcti_core::{Result, ReturnCode, fail};

/// A module's name and its configuration string; empty counts as absent.
#[derive(Debug)]
pub struct NameConf<'a> {
    name: Option<CString>,
    conf: Option<&'a CStr>,
}

impl<'a> NameConf<'a> {
    /// Splits at the first ':'. `BAD_VALUE` when the text is longer than a path may be, or has a conf without a name.
    pub fn parse(text: Option<&'a CStr>) -> Result<NameConf<'a>> {
        let Some(text) = text else { return NameConf::new(None, None) };
        let bytes = text.to_bytes();
        let limit = usize::try_from(libc::PATH_MAX).unwrap_or_default() - 1;
        if bytes.len() > limit {
            return Err(fail!(ReturnCode::BAD_VALUE, "a TCTI of {} bytes; at most {limit} are read", bytes.len()));
        }
        let colon = bytes.iter().position(|&byte| byte == b':');
        let name = bytes.get(..colon.unwrap_or(bytes.len())).unwrap_or_default();
        let conf = colon.and_then(|colon| {
            let rest = text.to_bytes_with_nul().get(colon + 1..)?;
            CStr::from_bytes_with_nul(rest).ok()
        });
        NameConf::new(CString::new(name).ok(), conf)
    }

    /// From both parts. `BAD_VALUE` for a conf without a name.
    pub fn new(name: Option<CString>, conf: Option<&'a CStr>) -> Result<NameConf<'a>> {
        let name = name.filter(|name| !name.is_empty());
        let conf = conf.filter(|conf| !conf.is_empty());
        if let (None, Some(conf)) = (&name, conf) {
            return Err(fail!(
                ReturnCode::BAD_VALUE,
                "the TCTI \":{}\" has no name before the ':'",
                conf.to_string_lossy()
            ));
        }
        Ok(NameConf { name, conf })
    }

    /// The name.
    pub fn name(&self) -> Option<&CStr> {
        self.name.as_deref()
    }

    /// The configuration string.
    pub fn conf(&self) -> Option<&'a CStr> {
        self.conf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &CStr) -> Result<(Option<CString>, Option<&CStr>)> {
        NameConf::parse(Some(text)).map(|parsed| (parsed.name, parsed.conf))
    }

    #[test]
    fn the_first_colon_splits() {
        assert_eq!(parts(c"swtpm:host=::1"), Ok((Some(c"swtpm".to_owned()), Some(c"host=::1"))));
        assert_eq!(parts(c"pcap:device:/dev/tpm0"), Ok((Some(c"pcap".to_owned()), Some(c"device:/dev/tpm0"))));
        assert_eq!(parts(c"cmd:\xff"), Ok((Some(c"cmd".to_owned()), Some(c"\xff"))));
    }

    #[test]
    fn empty_counts_as_absent() {
        assert_eq!(parts(c""), Ok((None, None)));
        assert_eq!(parts(c":"), Ok((None, None)));
        assert_eq!(parts(c"swtpm"), Ok((Some(c"swtpm".to_owned()), None)));
        assert_eq!(parts(c"swtpm:"), Ok((Some(c"swtpm".to_owned()), None)));
        assert!(NameConf::parse(None).unwrap().name().is_none());
    }

    #[test]
    fn a_conf_without_a_name_is_not_dropped() {
        assert_eq!(parts(c":/dev/tpm0"), Err(ReturnCode::BAD_VALUE.into()));
        assert_eq!(NameConf::new(None, Some(c"/dev/tpm0")).err(), Some(ReturnCode::BAD_VALUE.into()));
    }

    #[test]
    fn a_text_longer_than_a_path_is_a_bad_value() {
        let text = |len| CString::new(vec![b'x'; len]).unwrap();
        assert!(NameConf::parse(Some(&text(4095))).is_ok());
        assert_eq!(NameConf::parse(Some(&text(4096))).err(), Some(ReturnCode::BAD_VALUE.into()));
    }
}
