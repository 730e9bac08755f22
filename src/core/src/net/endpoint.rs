// SPDX-License-Identifier: BSD-2-Clause
//! Where a simulator listens. [`Channels::parse`] reads the configuration string that swtpm and mssim share;
//! [`Endpoint::connect`] tries every address of a name, which is resolved once per context.

use super::stream::Stream;
use crate::conf::{Conf, number};
use crate::rc::{Rc, Result};
use nix::errno::Errno;
use nix::sys::socket::{SockaddrLike, SockaddrStorage, UnixAddr};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// The host of a simulator unless the configuration says otherwise.
const DEFAULT_HOST: &str = "localhost";
/// The port of a simulator's data channel unless the configuration says otherwise.
const DEFAULT_PORT: u16 = 2321;
/// How long a connection may take to be made, and a control command to be answered. A simulator answers between two
/// TPM commands, and a long one (an RSA key) may be under way for another program.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The address of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host name or numeric address, and port.
    Tcp(String, u16),
    /// Path of a Unix socket.
    Unix(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => f.write_str(path),
        }
    }
}

/// An address to connect to, again and again.
#[derive(Debug)]
pub struct Endpoint {
    address: Address,
    timeout: Duration,
    /// What the name resolved to, the address that answered last in front; empty until first needed.
    resolved: Vec<Resolved>,
    /// The address as messages name it.
    name: Arc<str>,
}

impl Endpoint {
    /// Connects to `address`, each attempt within `timeout`.
    pub fn new(address: Address, timeout: Duration) -> Endpoint {
        let name = address.to_string().into();
        Endpoint { address, timeout, resolved: Vec::new(), name }
    }

    /// The address as messages name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long a connection may take to be made, and a control command to be answered.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Connects to the first address that answers. `IO_ERROR` when none does.
    pub fn connect(&mut self) -> Result<Stream> {
        self.try_connect().map_err(|reason| {
            crate::fail!(Rc::IO_ERROR, "{reason}. Is the simulator running, and is this its address?")
        })
    }

    /// As [`connect`](Self::connect), but the reason goes to the caller instead of the log.
    pub fn try_connect(&mut self) -> core::result::Result<Stream, String> {
        self.connect_to_any().map_err(|reason| format!("cannot connect to {}: {reason}", self.name))
    }

    fn connect_to_any(&mut self) -> core::result::Result<Stream, String> {
        if self.resolved.is_empty() {
            self.resolved = resolve(&self.address)?;
        }
        let mut reason = String::new();
        for index in 0..self.resolved.len() {
            let Some(address) = self.resolved.get(index) else { break };
            match Stream::connect(address.as_sockaddr(), self.timeout, &self.name) {
                Ok(stream) => {
                    self.resolved.rotate_left(index);
                    return Ok(stream);
                }
                Err(error) => {
                    let separator = if reason.is_empty() { "" } else { ", " };
                    let error = match error {
                        Errno::ETIMEDOUT => format!("no answer within {} ms", self.timeout.as_millis()),
                        other => other.desc().to_owned(),
                    };
                    reason =
                        if self.resolved.len() == 1 { error } else { format!("{reason}{separator}{address}: {error}") };
                }
            }
        }
        Err(reason)
    }
}

/// An address as `connect(2)` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resolved {
    Tcp(SockaddrStorage),
    Unix(UnixAddr),
}

impl Resolved {
    fn as_sockaddr(&self) -> &dyn SockaddrLike {
        match self {
            Resolved::Tcp(address) => address,
            Resolved::Unix(address) => address,
        }
    }
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resolved::Tcp(address) => address.fmt(f),
            Resolved::Unix(address) => address.fmt(f),
        }
    }
}

fn resolve(address: &Address) -> core::result::Result<Vec<Resolved>, String> {
    match address {
        Address::Tcp(host, port) => {
            let found: Vec<SocketAddr> = (host.as_str(), *port)
                .to_socket_addrs()
                .map_err(|error| format!("the name does not resolve: {error}"))?
                .collect();
            match found.is_empty() {
                true => Err("the name has no address".to_owned()),
                false => Ok(found.into_iter().map(|address| Resolved::Tcp(address.into())).collect()),
            }
        }
        Address::Unix(path) => match UnixAddr::new(path.as_str()) {
            Ok(address) => Ok(vec![Resolved::Unix(address)]),
            Err(error) => Err(error.desc().to_owned()),
        },
    }
}

/// The two channels of a simulator.
#[derive(Debug)]
pub struct Channels {
    /// Commands and responses.
    pub data: Endpoint,
    /// Control or platform commands.
    pub control: Endpoint,
}

impl Channels {
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
        Ok(Channels { data: Endpoint::new(data, timeout), control: Endpoint::new(control, timeout) })
    }
}

fn port(key: &str, value: &str) -> Result<u16> {
    let number = number(key, value, 1..=u32::from(u16::MAX))?;
    Ok(u16::try_from(number).unwrap_or(u16::MAX))
}

/// A host without the brackets that an IPv6 address may have.
fn host(value: &str) -> Result<&str> {
    let bare = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
    match bare.is_empty() {
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
    use crate::testing::listen;
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

    #[test]
    fn every_address_of_a_name_is_tried() {
        let (listener, port) = listen();
        let mut endpoint = Endpoint::new(Address::Tcp("127.0.0.1".into(), port), DEFAULT_TIMEOUT);
        let at = |port| Resolved::Tcp(SocketAddr::from(([127, 0, 0, 1], port)).into());
        endpoint.resolved = vec![at(1), at(port)];
        endpoint.connect().unwrap();
        listener.accept().unwrap();
        assert_eq!(endpoint.resolved[0], at(port), "first from now on");
    }

    #[test]
    fn a_refused_connection_is_an_io_error() {
        let (listener, port) = listen();
        drop(listener);
        let mut endpoint = Endpoint::new(Address::Tcp("127.0.0.1".into(), port), DEFAULT_TIMEOUT);
        assert_eq!(endpoint.connect().err(), Some(Rc::IO_ERROR));
    }

    #[test]
    fn a_connection_that_nobody_takes_times_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s").to_str().unwrap().to_owned();
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let mut endpoint = Endpoint::new(Address::Unix(path), Duration::from_millis(20));
        let _waiting = endpoint.connect().unwrap(); // fills the backlog, since nobody accepts
        let reason = endpoint.connect_to_any().err();
        assert_eq!(reason.as_deref(), Some("no answer within 20 ms"));
    }
}
