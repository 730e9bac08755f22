// SPDX-License-Identifier: BSD-2-Clause
//! The address of a simulator: [`Endpoint::connect`] tries every address of a host name, which is resolved once per context.

use super::channels::DEFAULT_HOST;
use super::stream::Stream;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr};
use std::fmt;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tcti_core::deadline::{Deadline, millis};
use tcti_core::io::Arrival;
use tcti_core::rx::RxBuf;
use tcti_core::visible::visible;
use tcti_core::{Error, Result, ReturnCode};

/// The address of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host name or numeric address, and port.
    Tcp(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{}]:{port}", visible(host)),
            Address::Tcp(host, port) => write!(f, "{}:{port}", visible(host)),
            Address::Unix(path) => f.write_str(&visible(path)),
        }
    }
}

/// An address to connect to repeatedly.
#[derive(Debug)]
pub struct Endpoint {
    address: Address,
    timeout: Duration,
    /// The addresses of the name, beginning with the one that was connected last; empty until the first connection.
    resolved: Vec<Resolved>,
    /// A disconnected TCP socket of the last connection to the first address, for the next one.
    spare: Option<Stream>,
    /// The address, as shown in messages.
    name: Arc<str>,
    /// Advice to the user for error messages.
    remedy: &'static str,
}

impl Endpoint {
    /// Creates an endpoint for `address`. Each connection attempt may take `timeout`; error messages end with `remedy`.
    pub fn new(address: Address, timeout: Duration, remedy: &'static str) -> Endpoint {
        let name = address.to_string().into();
        Endpoint { address, timeout, resolved: Vec::new(), spare: None, name, remedy }
    }

    /// Returns the address, as shown in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether connections use TCP; a Unix socket does not have the options of TCP.
    pub fn is_tcp(&self) -> bool {
        matches!(self.address, Address::Tcp(..))
    }

    /// Returns the time limit for a connection attempt and for the response to a control command.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a control command and receives its reply of at least `least` bytes. Fails with `IO_ERROR` if the reply does not
    /// arrive within `timeout`.
    pub fn ask(&self, stream: &Stream, parts: &mut [IoSlice<'_>], least: usize, timeout: Duration) -> Result<RxBuf> {
        stream.send(parts)?;
        let deadline = Deadline::within(timeout);
        let mut reply = RxBuf::new();
        while reply.len() < least {
            match stream.recv_some(&mut reply, &deadline)? {
                Arrival::Bytes => {}
                Arrival::Nothing => {
                    return Err(tcti_core::fail!(
                        ReturnCode::IO_ERROR,
                        "no reply from {} within {} ms. {}",
                        self.name,
                        millis(timeout),
                        self.remedy
                    ));
                }
                Arrival::End => return Err(stream.ended(&reply)),
            }
        }
        Ok(reply)
    }

    /// Connects to the first address that accepts a connection. Fails with `IO_ERROR` if none does.
    pub fn connect(&mut self) -> Result<Stream> {
        self.connect_to_any().map_err(|reason| self.refused(&reason))
    }

    /// Returns the error of a failed connection attempt.
    pub(super) fn refused(&self, reason: &str) -> Error {
        tcti_core::fail!(ReturnCode::IO_ERROR, "cannot connect to {}: {reason}. {}", self.name, self.remedy)
    }

    /// Uses the address that `other` has connected to, if both have the same host name, which may belong to several machines.
    pub(super) fn follow(&mut self, other: &Endpoint) {
        let (Address::Tcp(host, port), Address::Tcp(other_host, _)) = (&self.address, &other.address) else { return };
        if let (true, Some(Resolved::Tcp(address))) = (host == other_host, other.resolved.first()) {
            let mut address = *address;
            address.set_port(*port);
            let address = Resolved::Tcp(address);
            if self.resolved.first() != Some(&address) {
                self.spare = None; // it may have another address family
                self.resolved = vec![address];
            }
        }
    }

    /// Ends a connection to this endpoint, in a call that has used it. A TCP connection leaves no TIME_WAIT, and its socket is kept for the next one.
    pub fn release(&mut self, stream: Stream) {
        self.spare = if self.is_tcp() { stream.disconnect() } else { stream.end_now() };
    }

    /// Called in a forked process: drops the spare socket, which the parent also has.
    pub(super) fn after_fork(&mut self) {
        self.spare = None;
    }

    /// Connects to the first address that accepts a connection; returns the reason for each address if none does.
    pub(super) fn connect_to_any(&mut self) -> core::result::Result<Stream, String> {
        if self.resolved.is_empty() {
            self.resolved = resolve(&self.address)?;
        }
        let mut reason = String::new();
        let is_localhost = matches!(&self.address, Address::Tcp(host, _) if is_localhost(host));
        for index in 0..self.resolved.len() {
            let Some(address) = self.resolved.get(index) else { break };
            let spare = self.spare.take().filter(Stream::is_open);
            let attempt = address.with_sockaddr(|sockaddr| {
                let new = || Stream::connect(sockaddr, self.timeout, &self.name);
                match spare {
                    Some(stream) => match stream.reconnect(sockaddr) {
                        Err(error) if error != Errno::ECONNREFUSED && error != Errno::ETIMEDOUT => new(),
                        other => other,
                    },
                    None => new(),
                }
            });
            match attempt {
                Ok(stream) => {
                    self.resolved.rotate_left(index);
                    return Ok(stream);
                }
                Err(error) => {
                    let error = match error {
                        Errno::ETIMEDOUT => format!("no response within {} ms", millis(self.timeout)),
                        other => other.desc().to_owned(),
                    };
                    match (is_localhost || self.resolved.len() == 1, reason.is_empty()) {
                        (true, true) => reason = error,
                        // The error of the other family would only confuse where the system does not have it.
                        (true, false) => {}
                        (false, true) => reason = format!("{address}: {error}"),
                        (false, false) => reason = format!("{reason}, {address}: {error}"),
                    }
                }
            }
        }
        Err(reason)
    }
}

/// An address for `connect(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resolved {
    Tcp(SocketAddr),
    Unix(UnixAddr),
}

impl Resolved {
    /// Calls `function` with the address in the form of the system.
    fn with_sockaddr<R>(&self, function: impl FnOnce(&dyn SockaddrLike) -> R) -> R {
        match self {
            Resolved::Tcp(SocketAddr::V4(address)) => function(&SockaddrIn::from(*address)),
            Resolved::Tcp(SocketAddr::V6(address)) => function(&SockaddrIn6::from(*address)),
            Resolved::Unix(address) => function(address),
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
        // Without the resolver, which would load libraries into the program and may ask servers. The name always means the
        // loopback addresses (RFC 6761, section 6.3). IPv4 is first, because simulators listen there by default.
        Address::Tcp(host, port) if is_localhost(host) => {
            let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            Ok(loopback.map(|ip| Resolved::Tcp((ip, *port).into())).into())
        }
        Address::Tcp(host, port) => {
            if let Some(address) = scoped(host, *port) {
                return Ok(vec![Resolved::Tcp(address)]);
            }
            // Parses other numeric addresses without the resolver.
            let found: Vec<SocketAddr> = (host.as_str(), *port)
                .to_socket_addrs()
                .map_err(|error| format!("the name does not resolve: {error}"))?
                .collect();
            match found.is_empty() {
                true => Err("the name has no address".to_owned()),
                false => Ok(found.into_iter().map(Resolved::Tcp).collect()),
            }
        }
        Address::Unix(path) => match UnixAddr::new(path.as_path()) {
            Ok(address) => Ok(vec![Resolved::Unix(address)]),
            Err(error) => Err(error.desc().to_owned()),
        },
    }
}

fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.eq_ignore_ascii_case(DEFAULT_HOST)
}

/// Parses an IPv6 address with a scope, such as `fe80::1%eth0`.
fn scoped(host: &str, port: u16) -> Option<SocketAddr> {
    let (ip, scope) = host.split_once('%')?;
    let scope = scope.parse().ok().or_else(|| if_nametoindex(scope).ok())?;
    Some(SocketAddrV6::new(ip.parse().ok()?, port, 0, scope).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Read};
    use std::os::fd::{AsFd, AsRawFd};
    use tcti_core::testing::listen;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn every_address_of_a_name_is_tried() {
        let (listener, port) = listen();
        let mut endpoint = Endpoint::new(Address::Tcp("127.0.0.1".into(), port), TIMEOUT, "remedy");
        let at = |port| Resolved::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        endpoint.resolved = vec![at(1), at(port)];
        endpoint.connect().unwrap();
        listener.accept().unwrap();
        assert_eq!(endpoint.resolved[0], at(port), "must be first from now on");
    }

    #[test]
    fn localhost_is_the_loopback_addresses() {
        for host in ["localhost", "LocalHost", "localhost."] {
            let resolved = resolve(&Address::Tcp(host.into(), 7)).unwrap();
            let at = |address: &str| Resolved::Tcp(address.parse().unwrap());
            assert_eq!(resolved, [at("127.0.0.1:7"), at("[::1]:7")]);
        }
        let (listener, port) = listen();
        let mut endpoint = Endpoint::new(Address::Tcp("localhost".into(), port), TIMEOUT, "remedy");
        endpoint.connect().unwrap();
        drop(listener);
        let refused = format!("cannot connect to localhost:{port}: Connection refused. remedy");
        assert_eq!(endpoint.connect().unwrap_err().message(), refused);
    }

    #[test]
    fn a_scope_is_a_name_or_a_number() {
        let loopback = if_nametoindex("lo").unwrap();
        let address = |scope| SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, scope).into();
        assert_eq!(scoped("fe80::1%lo", 7), Some(address(loopback)));
        assert_eq!(scoped("fe80::1%9", 7), Some(address(9)));
        assert_eq!(scoped("fe80::1%no-such-interface", 7), None);
        assert_eq!(scoped("fe80::1", 7), None);
    }

    #[test]
    fn a_released_socket_is_reused() {
        let (listener, port) = listen();
        let mut endpoint = Endpoint::new(Address::Tcp("127.0.0.1".into(), port), TIMEOUT, "remedy");
        let mut sockets = Vec::new();
        for _ in 0..3 {
            let stream = endpoint.connect().unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            sockets.push(stream.as_fd().as_raw_fd());
            endpoint.release(stream);
            assert_eq!(
                peer.read(&mut [0]).unwrap_err().kind(),
                io::ErrorKind::ConnectionReset,
                "the connection must be reset"
            );
        }
        assert!(sockets.iter().all(|fd| *fd == sockets[0]), "expected one socket: {sockets:?}");
    }

    #[test]
    fn a_child_connects_with_its_own_socket() {
        let (listener, port) = listen();
        let mut endpoint = Endpoint::new(Address::Tcp("127.0.0.1".into(), port), TIMEOUT, "remedy");
        let stream = endpoint.connect().unwrap();
        let parents = stream.as_fd().try_clone_to_owned().unwrap();
        endpoint.release(stream);
        endpoint.after_fork();
        let _ours = endpoint.connect().unwrap();
        drop(listener);
        let peer = nix::sys::socket::getpeername::<nix::sys::socket::SockaddrStorage>(parents.as_raw_fd());
        assert_eq!(peer, Err(Errno::ENOTCONN));
    }

    #[test]
    fn a_refused_connection_is_an_io_error() {
        let (listener, port) = listen();
        drop(listener);
        let mut endpoint = Endpoint::new(Address::Tcp("127.0.0.1".into(), port), TIMEOUT, "remedy");
        assert_eq!(endpoint.connect().err(), Some(ReturnCode::IO_ERROR.into()));
    }

    #[test]
    fn a_connection_that_is_not_accepted_times_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let mut endpoint = Endpoint::new(Address::Unix(path), Duration::from_millis(20), "remedy");
        let _waiting = endpoint.connect().unwrap(); // fills the backlog, because nobody accepts
        let reason = endpoint.connect_to_any().err();
        assert_eq!(reason.as_deref(), Some("no response within 20 ms"));
    }
}
