// SPDX-License-Identifier: BSD-2-Clause
//! Configuration strings: no string causes a panic, the result of parsing is valid, and it can be written and parsed
//! again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use tcti_core::conf::boolean;
use tcti_core::visible::visible;
use tcti_core::{Conf, Result, ReturnCode};
use tcti_net::Channels;
use tcti_pcap::target::Target;
use tcti_spi_ltt2go::pattern::Pattern;

const KEYS: [&str; 7] = ["host", "port", "path", "ctrl_port", "ctrl_path", "timeout", "keep"];

/// Parses a string as swtpm does. Its keys are those of mssim and one more.
fn parse(conf: &CStr) -> Result<Channels> {
    Channels::parse(Conf::new(Some(conf)), &["keep"], |key, value| {
        (key == "keep").then(|| boolean(key, value).map(drop))
    })
}

/// Writes a channel as keys of a configuration string.
fn keys(name: &str, is_tcp: bool, path: &str, port: &str) -> String {
    if !is_tcp {
        assert!((1..=107).contains(&name.len()), "{name}");
        return format!("{path}={name}");
    }
    let (host, number) = name.rsplit_once(':').expect("a host and a port");
    assert!(!host.is_empty());
    assert!((1..=65535).contains(&number.parse::<u32>().expect("a port")));
    match port {
        "port" => format!("host={host},port={number}"),
        _ => format!("{port}={number}"),
    }
}

/// Returns the addresses of both channels and the time-out in a string that is certainly valid: a host of letters, and
/// numbers in their ranges. Other strings, valid or not, are `None`.
fn model(text: &str) -> Option<(String, String, u32)> {
    let (mut host, mut port, mut ctrl_port, mut timeout) = ("localhost", 2321, None, 30_000);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=')?;
        let number = value.parse().ok().filter(|number: &u32| *number > 0 && number.to_string() == value);
        match key {
            "host" if (1..64).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                host = value
            }
            "port" => port = number.filter(|port| *port <= 65535)?,
            "ctrl_port" => ctrl_port = Some(number.filter(|port| *port <= 65535)?),
            "timeout" => timeout = number?,
            "keep" if ["true", "false"].contains(&value) => {}
            _ => return None,
        }
    }
    let next = Some(port + 1).filter(|port| *port <= 65535);
    Some((format!("{host}:{port}"), format!("{host}:{}", ctrl_port.or(next)?), timeout))
}

fn simulators(conf: &CStr) {
    let parsed = parse(conf);
    if let Some((data, control, millis)) = conf.to_str().ok().and_then(model) {
        let channels = parsed.as_ref().expect("the configuration is valid");
        assert_eq!((channels.data.name(), channels.control.name()), (&*data, &*control));
        assert_eq!(channels.control.timeout().as_millis(), millis.into());
    }
    let channels = match parsed {
        Ok(channels) => channels,
        Err(error) => return assert_eq!(error.code(), ReturnCode::BAD_VALUE),
    };
    let Ok(text) = conf.to_str() else { return };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, _) = part.split_once('=').expect("every part is a pair");
        assert!(KEYS.contains(&key), "{key}");
    }
    let millis = channels.control.timeout().as_millis();
    assert!((1..=u128::from(u32::MAX)).contains(&millis) && channels.data.timeout() == channels.control.timeout());
    // A long name and one with invisible characters are not written as they are read.
    if [&channels.data, &channels.control]
        .iter()
        .any(|channel| channel.name().contains('"') || channel.name().len() > 256)
    {
        return;
    }
    let again = [
        keys(channels.data.name(), channels.data.is_tcp(), "path", "port"),
        keys(channels.control.name(), channels.control.is_tcp(), "ctrl_path", "ctrl_port"),
        format!("timeout={millis}"),
    ];
    // With a Unix socket for data, the written string names no host, which a control port would need.
    if channels.data.is_tcp() || !channels.control.is_tcp() {
        let again = CString::new(again.join(",")).expect("no NUL");
        let read = parse(&again).expect("a configuration can be written and parsed again");
        assert_eq!(read.data.name(), channels.data.name());
        assert_eq!(read.control.name(), channels.control.name());
        assert_eq!(read.control.timeout(), channels.control.timeout());
    }
}

/// The first line is the expression, the second the subject.
fn expression(bytes: &CStr) {
    let Ok(text) = bytes.to_str() else { return };
    let (expression, subject) = text.split_once('\n').unwrap_or((text, ""));
    let expression_c = CString::new(expression).expect("no NUL");
    let has_words = expression.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'|');
    match Pattern::parse(&expression_c) {
        Ok(regex) => {
            let matches = regex.matches(subject);
            assert_eq!(regex.text(), visible(expression));
            if has_words {
                assert_eq!(matches, expression.split('|').any(|word| subject.contains(word)));
            }
        }
        Err(error) => {
            assert!(error.code() == ReturnCode::BAD_VALUE && !(has_words && expression.len() <= 2048), "{error:?}");
        }
    }
}

fn capture(name: &CStr) {
    let target = Target::new(Some(OsStr::from_bytes(name.to_bytes())));
    match name.to_bytes() {
        b"-" | b"stdout" | b"/dev/stdout" => assert!(matches!(target, Target::Stdout)),
        b"stderr" | b"/dev/stderr" => assert!(matches!(target, Target::Stderr)),
        b"" => assert!(matches!(target, Target::Default(_))),
        bytes => assert!(matches!(target, Target::Chosen(path) if path.as_os_str().as_bytes() == bytes)),
    }
}

fuzz_target!(|bytes: &[u8]| {
    tss2_fuzz::listen_to_log();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let conf = CString::new(&bytes[..end]).expect("no NUL");
    simulators(&conf);
    expression(&conf);
    capture(&conf);
    let path = Conf::new(Some(&conf)).path().map(|path| path.as_os_str().as_bytes());
    assert_eq!(path, (!conf.is_empty()).then_some(conf.as_bytes()));
});
