// SPDX-License-Identifier: BSD-2-Clause
//! The two channels of a simulator, and the configuration string that swtpm and mssim share: [`Channels::parse`].

use super::descendants::Descendants;
use super::endpoint::{Address, Endpoint};
use super::stream::Stream;
use nix::sys::socket::UnixAddr;
use std::ffi::OsStr;
use std::time::{Duration, Instant};
use tcti_core::conf::{Conf, number};
use tcti_core::visible::visible;
use tcti_core::{Result, ReturnCode};

/// The default host of a simulator.
pub const DEFAULT_HOST: &str = "localhost";
/// The default port of a simulator's data channel.
pub const DEFAULT_PORT: u16 = 2321;
/// The default time limit for a connection attempt and for the response to a control command. A simulator responds between two
/// TPM commands, and a long one, such as the generation of an RSA key, may be in progress for another program.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The keys of [`Channels::parse`].
const KEYS: &[&str] = &["host", "port", "path", "ctrl_port", "ctrl_path", "timeout"];

const DATA_REMEDY: &str = "Is the simulator running, and is this its address?";
const CONTROL_REMEDY: &str = "This is the control channel: start the simulator with one there (swtpm: --ctrl), or say \
     where it is with ctrl_port= or ctrl_path=";

/// The two channels of a simulator.
#[derive(Debug)]
pub struct Channels {
    /// The channel of TPM commands and responses.
    pub data: Endpoint,
    /// The channel of control or platform commands.
    pub control: Endpoint,
    descendants: Descendants,
}

impl Channels {
    /// Connects the data channel. The control channel will then be that of the same machine.
    pub fn connect_data(&mut self) -> Result<Stream> {
        let stream = self.data.connect()?;
        self.control.follow(&self.data);
        Ok(stream)
    }

    /// Connects the control channel before the data channel, which will then be that of the same machine. If neither can be
    /// reached, the error is that of the data channel, whose address is the one that users configure.
    pub fn connect_control(&mut self) -> Result<Stream> {
        let since = Instant::now();
        match self.control.connect_to_any() {
            Ok(stream) => {
                self.data.follow(&self.control);
                Ok(stream)
            }
            Err(reason) => {
                if since.elapsed() < self.control.timeout() {
                    self.data.connect()?;
                }
                Err(self.control.refused(&reason))
            }
        }
    }

    /// Releases what belongs to the parent process, see [`Transport::after_fork`](tcti_core::Transport::after_fork).
    pub fn after_fork(&mut self) {
        self.data.after_fork();
        self.control.after_fork();
        self.descendants.after_fork();
    }

    /// Returns whether the next connection may be kept open. Call this before each connection. It may not if a process was forked
    /// that has a copy of this context: the simulator would serve only this process.
    pub fn may_be_kept(&mut self) -> bool {
        !self.descendants.exist()
    }

    /// Parses `host=`, `port=`, `path=`, `ctrl_port=`, `ctrl_path=` and `timeout=` (milliseconds, see [`Endpoint::timeout`]).
    /// Passes the keys in `others` to `other`, which returns `None` for an unknown key. The default control channel is at port
    /// + 1 or at SOCKET.ctrl. Fails with `BAD_VALUE` and a message that names the invalid part.
    pub fn parse<'a>(
        conf: Conf<'a>,
        others: &[&str],
        mut other: impl FnMut(&'a str, &'a OsStr) -> Option<Result<()>>,
    ) -> Result<Channels> {
        let mut keys = Keys::default();
        let known = [KEYS, others].concat();
        conf.pairs(&known, "port=2321", |key, value| keys.set(key, value).or_else(|| other(key, value)))?;
        keys.channels()
    }
}

/// The configuration as written.
#[derive(Default)]
struct Keys<'a> {
    host: Option<&'a str>,
    port: Option<u16>,
    path: Option<&'a OsStr>,
    /// Whether the last of host and path is a path. The last one applies, as in the C modules, which ignore the other one
    /// silently.
    is_path: bool,
    ctrl_port: Option<u16>,
    ctrl_path: Option<&'a OsStr>,
    timeout: Option<Duration>,
}

impl<'a> Keys<'a> {
    fn set(&mut self, key: &'a str, value: &'a OsStr) -> Option<Result<()>> {
        let result = match key {
            "host" => host(value).map(|host| (self.host, self.is_path) = (Some(host), false)),
            "port" => port(key, value).map(|port| self.port = Some(port)),
            "path" => path(key, value).map(|path| (self.path, self.is_path) = (Some(path), true)),
            "ctrl_port" => port(key, value).map(|port| self.ctrl_port = Some(port)),
            "ctrl_path" => path(key, value).map(|path| self.ctrl_path = Some(path)),
            "timeout" => {
                number(key, value, 1..=u32::MAX).map(|millis| self.timeout = Some(Duration::from_millis(millis.into())))
            }
            _ => return None,
        };
        Some(result)
    }

    fn channels(self) -> Result<Channels> {
        if let Some(ignored) = self.ignored() {
            let counts = if self.is_path { "path=" } else { "host=" };
            log::warn!(
                "a simulator has one address: {counts} in the configuration string applies, as the last of host= and \
                 path=, and {ignored} does not"
            );
        }
        if self.ctrl_path.is_some() && self.ctrl_port.is_some() {
            return Err(tcti_core::fail!(
                ReturnCode::BAD_VALUE,
                "the configuration string has ctrl_path= and ctrl_port=: a control channel has one address"
            ));
        }
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let host = self.host.unwrap_or(DEFAULT_HOST);
        let data_port = self.port.unwrap_or(DEFAULT_PORT);
        let tcp = |port| Address::Tcp(host.to_owned(), port);
        let data_path = self.path.filter(|_| self.is_path);
        let data = match data_path {
            Some(path) => Address::Unix(path.into()),
            None => tcp(data_port),
        };
        let control = match (self.ctrl_path, self.ctrl_port, data_path) {
            (Some(ctrl_path), _, _) => Address::Unix(ctrl_path.into()),
            (None, Some(ctrl_port), _) => tcp(ctrl_port),
            (None, None, Some(data_path)) => {
                let mut ctrl_path = data_path.to_owned();
                ctrl_path.push(".ctrl");
                Address::Unix(path("path", &ctrl_path)?.into())
            }
            (None, None, None) => tcp(data_port.checked_add(1).ok_or_else(|| {
                tcti_core::fail!(
                    ReturnCode::BAD_VALUE,
                    "port={data_port} leaves no port for the control channel, which is the next one; set ctrl_port="
                )
            })?),
        };
        Ok(Channels {
            data: Endpoint::new(data, timeout, DATA_REMEDY),
            control: Endpoint::new(control, timeout, CONTROL_REMEDY),
            descendants: Descendants::Unknown,
        })
    }

    /// Returns the keys that do not apply because of a later `host=` or `path=`.
    fn ignored(&self) -> Option<&'static str> {
        match (self.is_path, self.host, self.port, self.path) {
            (true, Some(_), Some(_), _) => Some("what host= and port= say"),
            (true, Some(_), None, _) => Some("host="),
            (true, None, Some(_), _) => Some("port="),
            (false, _, _, Some(_)) => Some("path="),
            _ => None,
        }
    }
}

fn port(key: &str, value: &OsStr) -> Result<u16> {
    let number = number(key, value, 1..=u32::from(u16::MAX))?;
    Ok(u16::try_from(number).unwrap_or(u16::MAX))
}

/// Returns a host without the brackets around an IPv6 address.
fn host(value: &OsStr) -> Result<&str> {
    let invalid = || {
        tcti_core::fail!(
            ReturnCode::BAD_VALUE,
            "host={} in the configuration string is not a valid host",
            visible(value)
        )
    };
    let value = value.to_str().ok_or_else(invalid)?;
    let bare = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
    match bare.is_empty() || bare.contains(['[', ']']) {
        true => Err(invalid()),
        false => Ok(bare),
    }
}

fn path<'a>(key: &str, value: &'a OsStr) -> Result<&'a OsStr> {
    if value.is_empty() {
        return Err(tcti_core::fail!(
            ReturnCode::BAD_VALUE,
            "{key}= in the configuration string does not name a socket"
        ));
    }
    match UnixAddr::new(value) {
        Ok(_) => Ok(value),
        Err(_) => Err(tcti_core::fail!(
            ReturnCode::BAD_VALUE,
            "{key}={} in the configuration string: the path of a Unix socket has at most 107 bytes",
            visible(value)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn parse(conf: &str) -> Result<(String, String)> {
        let conf = CString::new(conf).unwrap();
        let channels = Channels::parse(Conf::new(Some(&conf)), &[], |_, _| None)?;
        Ok((channels.data.name().to_owned(), channels.control.name().to_owned()))
    }

    fn names(data: &str, control: &str) -> Result<(String, String)> {
        Ok((data.to_owned(), control.to_owned()))
    }

    #[test]
    fn keys_may_be_in_any_order_and_have_defaults() {
        assert_eq!(parse(""), names("localhost:2321", "localhost:2322"));
        assert_eq!(parse("port=5000"), names("localhost:5000", "localhost:5001"));
        assert_eq!(parse("port=5000,host=tpm.example"), names("tpm.example:5000", "tpm.example:5001"));
        assert_eq!(parse("host=h,ctrl_port=7"), names("h:2321", "h:7"));
        assert_eq!(parse("path=/run/tpm"), names("/run/tpm", "/run/tpm.ctrl"));
        assert_eq!(parse("path=/run/tpm,ctrl_path=/run/c"), names("/run/tpm", "/run/c"));
        assert_eq!(parse("port=65535,ctrl_path=/run/c"), names("localhost:65535", "/run/c"));
    }

    #[test]
    fn ipv6_addresses_may_have_brackets() {
        assert_eq!(parse("host=::1,port=1"), names("[::1]:1", "[::1]:2"));
        assert_eq!(parse("host=[::1],port=1"), names("[::1]:1", "[::1]:2"));
    }

    #[test]
    fn the_last_of_host_and_path_applies() {
        assert_eq!(parse("path=/a,port=1"), names("/a", "/a.ctrl"));
        assert_eq!(parse("port=1,path=/a"), names("/a", "/a.ctrl"));
        assert_eq!(parse("host=h,port=1,path=/a"), names("/a", "/a.ctrl"));
        assert_eq!(parse("path=/a,host=h,port=1"), names("h:1", "h:2"));
        assert_eq!(parse("host=i,path=/a,host=h"), names("h:2321", "h:2322"));
        assert_eq!(parse("path=/a,host=h,path=/b"), names("/b", "/b.ctrl"));
    }

    #[test]
    fn ignored_keys_are_named() {
        let ignored = |conf: &str| {
            let (conf, mut keys) = (CString::new(conf).unwrap(), Keys::default());
            Conf::new(Some(&conf)).pairs(&[], "", |key, value| keys.set(key, value)).unwrap();
            keys.ignored()
        };
        assert_eq!(ignored("path=/a"), None);
        assert_eq!(ignored("host=h,port=1"), None);
        assert_eq!(ignored("host=h,path=/a"), Some("host="));
        assert_eq!(ignored("path=/a,port=1"), Some("port="));
        assert_eq!(ignored("path=/a,host=h"), Some("path="));
    }

    #[test]
    fn the_path_of_a_socket_need_not_be_utf8() {
        let channels = Channels::parse(Conf::new(Some(c"path=/\xff,ctrl_path=/\r")), &[], |_, _| None).unwrap();
        assert_eq!(channels.data.name(), r#""/\xFF""#);
        assert_eq!(channels.control.name(), r#""/\r""#);
    }

    #[test]
    fn an_invalid_address_is_a_bad_value() {
        let long = format!("path=/{}", "x".repeat(107));
        let long_with_ctrl = format!("path=/{}", "x".repeat(105));
        for bad in [
            "port=0",
            "port=65536",
            "port=1x",
            "port=",
            "host=",
            "host=[]",
            "host=[[]]",
            "host=[::1",
            "path=",
            "port=65535",
            "ctrl_port=0",
            "ctrl_path=/a,ctrl_port=1",
            "timeout=0",
            "timeout=-1",
            "keep=true",
            "Host=h",
            &long,
            &long_with_ctrl,
        ] {
            assert_eq!(parse(bad), Err(ReturnCode::BAD_VALUE.into()), "{bad}");
        }
    }
}
