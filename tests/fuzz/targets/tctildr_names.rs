// SPDX-License-Identifier: BSD-2-Clause
//! `name:conf` strings: where they are split, which are rejected, and which library files a name stands for. No library
//! is loaded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::ffi::{CStr, CString};
use tcti_core::ReturnCode;
use tcti_loader::{NameConf, find};

/// Returns the expected name and conf, empty where they are absent.
fn model(text: &[u8]) -> Result<(&[u8], &[u8]), ReturnCode> {
    let mut parts = text.splitn(2, |byte| *byte == b':');
    let (name, conf) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let opens_another = |name: &&[u8]| {
        let file = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let file = file.strip_prefix(b"libtss2-").unwrap_or(file);
        let file = file.strip_prefix(b"tcti-").unwrap_or(file);
        std::str::from_utf8(file).is_ok_and(|file| ["pcap", "tctildr"].contains(&file.split(".so").next().unwrap()))
    };
    let is_too_deep = text.split(|byte| *byte == b':').take_while(opens_another).count() > 8;
    match text.len() > 4095 || (name.is_empty() && !conf.is_empty()) || is_too_deep {
        true => Err(ReturnCode::BAD_VALUE),
        false => Ok((name, conf)),
    }
}

fn check(text: &CStr) {
    let bytes = |part: Option<&CStr>| part.map_or(Vec::new(), |part| part.to_bytes().to_vec());
    let parsed = NameConf::parse(Some(text));
    let parts =
        parsed.as_ref().map(|parsed| (bytes(parsed.name()), bytes(parsed.conf()))).map_err(|error| error.code());
    assert_eq!(parts, model(text.to_bytes()).map(|(name, conf)| (name.to_vec(), conf.to_vec())));
    let Ok(parsed) = parsed else { return };
    assert!(parsed.name().is_none_or(|name| !name.is_empty()) && parsed.conf().is_none_or(|conf| !conf.is_empty()));
    let again = NameConf::new(parsed.name(), parsed.conf()).expect("its own parts");
    assert_eq!((again.name(), again.conf()), (parsed.name(), parsed.conf()));
    let Some(name) = parsed.name() else { return };
    let files = find::candidates(name);
    let name = if name == c"abrmd" { b"tabrmd" } else { name.to_bytes() };
    let forms: &[(&str, &str)] = if name.contains(&b'/') {
        &[("", "")]
    } else {
        &[("", ""), ("libtss2-tcti-", ".so.0"), ("libtss2-tcti-", ".so"), ("libtss2-", ".so.0"), ("libtss2-", ".so")]
    };
    let wanted: Vec<Vec<u8>> =
        forms.iter().map(|(before, after)| [before.as_bytes(), name, after.as_bytes()].concat()).collect();
    assert_eq!(files.iter().map(|file| file.to_bytes().to_vec()).collect::<Vec<_>>(), wanted);
}

fuzz_target!(|bytes: &[u8]| {
    tss2_fuzz::listen_to_log();
    // The first two bytes can make it long, because the fuzzer would hardly reach the limit by itself.
    let [high, low, rest @ ..] = bytes else { return };
    let mut text: Vec<u8> = rest.iter().copied().filter(|byte| *byte != 0).collect();
    if high & 0x80 != 0 && !text.is_empty() {
        let size = 4080 + usize::from(*low) % 32;
        text = text.iter().copied().cycle().take(size).collect();
    }
    let text = CString::new(text).expect("no NUL");
    check(&text);
    // A TCTI that records another one has the name of that in its conf.
    if let Ok(parsed) = NameConf::parse(Some(&text)) {
        parsed.conf().into_iter().for_each(check);
    }
});
