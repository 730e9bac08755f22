// SPDX-License-Identifier: BSD-2-Clause
//! The two channels of a simulator and the configuration string that swtpm and mssim share; [`Channels::parse`] reads it.

use super::endpoint::{Address, Endpoint};
use super::heirs::Heirs;
use super::stream::Stream;
use crate::conf::{Conf, number};
use crate::rc::{Rc, Result};
use crate::transport::Inheritance;
use nix::sys::socket::UnixAddr;
use std::time::{Duration, Instant};

/// The host of a simulator unless the configuration says otherwise.
pub(super) const DEFAULT_HOST: &str = "localhost";
/// The port of a simulator's data channel unless the configuration says otherwise.
pub(super) const DEFAULT_PORT: u16 = 2321;
/// How long a connection may take to be made, and a control command to be answered. A simulator answers between two
/// TPM commands, and a long one (an RSA key) may be under way for another program.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

const DATA_REMEDY: &str = "Is the simulator running, and is this its address?";
const CONTROL_REMEDY: &str = "This is the control channel: start the simulator with one there (swtpm: --ctrl), or say \
     where it is with ctrl_port= or ctrl_path=";

/// The two channels of a simulator.
#[derive(Debug)]
pub struct Channels {
    /// Commands and responses.
    pub data: Endpoint,
    /// Control or platform commands.
    pub control: Endpoint,
    heirs: Heirs,
}

impl Channels {
    /// Connects the data channel; the control channel will be that of the same machine.
    pub fn connect_data(&mut self) -> Result<Stream> {
        let stream = self.data.connect()?;
        self.control.follow(&self.data);
        Ok(stream)
    }

    /// Connects the control channel before the data channel, which will be that of the same machine. Where nothing listens
    /// at all, the error is that of the data channel, whose address people know.
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

    /// Lets go of what a parent process has, too, see [`Transport::inherited`](crate::Transport::inherited).
    pub fn inherited(&mut self, inheritance: Inheritance) {
        self.data.inherited(inheritance);
        self.control.inherited(inheritance);
        self.heirs.inherited(inheritance);
    }

    /// Whether the connections that are made next may be kept. Not where a process was forked that has those of before,
    /// which are of no use any more: a simulator would serve this process alone. To be asked before each.
    pub fn may_be_kept(&mut self) -> bool {
        !self.heirs.exist()
    }

    /// Reads `host=`, `port=`, `path=`, `ctrl_port=`, `ctrl_path=` and `timeout=` (milliseconds, see [`Endpoint::timeout`]). Other
    /// keys go to `other`, which answers `None` for one it does not know. The control channel is at port + 1 or at
    /// SOCKET.ctrl unless the string says otherwise. `BAD_VALUE` names the offending part.
    pub fn parse<'a>(
        conf: Conf<'a>,
        mut other: impl FnMut(&'a str, &'a str) -> Option<Result<()>>,
    ) -> Result<Channels> {
        let mut keys = Keys::default();
        conf.pairs(|key, value| keys.set(key, value).or_else(|| other(key, value)))?;
        keys.channels()
    }
}

/// The configuration as written.
#[derive(Default)]
struct Keys<'a> {
    host: Option<&'a str>,
    port: Option<u16>,
    path: Option<&'a str>,
    ctrl_port: Option<u16>,
    ctrl_path: Option<&'a str>,
    timeout: Option<Duration>,
}

impl<'a> Keys<'a> {
    fn set(&mut self, key: &'a str, value: &'a str) -> Option<Result<()>> {
        let result = match key {
            "host" => host(value).map(|host| self.host = Some(host)),
            "port" => port(key, value).map(|port| self.port = Some(port)),
            "path" => path(key, value).map(|path| self.path = Some(path)),
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
        if self.path.is_some() && (self.host.is_some() || self.port.is_some()) {
            return Err(crate::fail!(
                Rc::BAD_VALUE,
                "the configuration string has path= and host= or port=: a simulator has one address"
            ));
        }
        if self.ctrl_path.is_some() && self.ctrl_port.is_some() {
            return Err(crate::fail!(
                Rc::BAD_VALUE,
                "the configuration string has ctrl_path= and ctrl_port=: a control channel has one address"
            ));
        }
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let host = self.host.unwrap_or(DEFAULT_HOST);
        let data_port = self.port.unwrap_or(DEFAULT_PORT);
        let tcp = |port| Address::Tcp(host.to_owned(), port);
        let data = match self.path {
            Some(path) => Address::Unix(path.to_owned()),
            None => tcp(data_port),
        };
        let control = match (self.ctrl_path, self.ctrl_port, self.path) {
            (Some(ctrl_path), _, _) => Address::Unix(ctrl_path.to_owned()),
            (None, Some(ctrl_port), _) => tcp(ctrl_port),
            (None, None, Some(data_path)) => Address::Unix(path("path", &format!("{data_path}.ctrl"))?.to_owned()),
            (None, None, None) => tcp(data_port.checked_add(1).ok_or_else(|| {
                crate::fail!(
                    Rc::BAD_VALUE,
                    "port={data_port} leaves no port for the control channel, which is the next one; set ctrl_port="
                )
            })?),
        };
        Ok(Channels {
            data: Endpoint::new(data, timeout, DATA_REMEDY),
            control: Endpoint::new(control, timeout, CONTROL_REMEDY),
            heirs: Heirs::Unasked,
        })
    }
}

fn port(key: &str, value: &str) -> Result<u16> {
    let number = number(key, value, 1..=u32::from(u16::MAX))?;
    Ok(u16::try_from(number).unwrap_or(u16::MAX))
}

/// A host without the brackets that an IPv6 address may have.
fn host(value: &str) -> Result<&str> {
    let bare = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
    match bare.is_empty() || bare.contains(['[', ']']) {
        true => Err(crate::fail!(Rc::BAD_VALUE, "host={value} in the configuration string names no host")),
        false => Ok(bare),
    }
}

fn path<'a>(key: &str, value: &'a str) -> Result<&'a str> {
    if value.is_empty() {
        return Err(crate::fail!(Rc::BAD_VALUE, "{key}= in the configuration string names no socket"));
    }
    match UnixAddr::new(value) {
        Ok(_) => Ok(value),
        Err(_) => Err(crate::fail!(
            Rc::BAD_VALUE,
            "{key}={value} in the configuration string: the path of a Unix socket has at most 107 bytes"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn parse(conf: &str) -> Result<(String, String)> {
        let conf = CString::new(conf).unwrap();
        let channels = Channels::parse(Conf::new(Some(&conf)), |_, _| None)?;
        Ok((channels.data.name().to_owned(), channels.control.name().to_owned()))
    }

    fn names(data: &str, control: &str) -> Result<(String, String)> {
        Ok((data.to_owned(), control.to_owned()))
    }

    #[test]
    fn keys_come_in_any_order_and_have_defaults() {
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
    fn what_makes_no_address_is_a_bad_value() {
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
            "path=/a,port=1",
            "path=/a,host=h",
            "ctrl_path=/a,ctrl_port=1",
            "timeout=0",
            "timeout=-1",
            "keep=true",
            "Host=h",
            &long,
            &long_with_ctrl,
        ] {
            assert_eq!(parse(bad), Err(Rc::BAD_VALUE), "{bad}");
        }
    }
}
