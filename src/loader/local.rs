// SPDX-License-Identifier: BSD-2-Clause
//! Whether a simulator listens where one does by default; [`reach_simulator`] asks. Loaders do, and are to carry neither
//! the resolver nor the printing of addresses for it.

use nix::errno::Errno;
use nix::sys::socket::{SockaddrIn, SockaddrIn6, SockaddrLike};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use tcti_core::{Result, ReturnCode, fail};
use tcti_net::Stream;
use tcti_net::channels::{DEFAULT_HOST, DEFAULT_PORT, DEFAULT_TIMEOUT};

/// Connects and disconnects again; `IO_ERROR` when nobody listens.
pub(crate) fn reach_simulator() -> Result<()> {
    reach(DEFAULT_PORT)
}

/// The host is `localhost`, which is the loopback addresses, always (RFC 6761, section 6.3).
fn reach(port: u16) -> Result<()> {
    let name: Arc<str> = format!("{DEFAULT_HOST}:{port}").into();
    let connect = |address: &dyn SockaddrLike| Stream::connect(address, DEFAULT_TIMEOUT, &name).map(drop);
    connect(&SockaddrIn::new(127, 0, 0, 1, port))
        .or_else(|error: Errno| {
            // What is wrong with IPv4 is what a person can do something about.
            connect(&SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0))).map_err(|_| error)
        })
        .map_err(|error| fail!(ReturnCode::IO_ERROR, "cannot connect to {name}: {}", error.desc()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use tcti_core::testing::listen;

    #[test]
    fn who_listens_is_reached() {
        let (listener, port) = listen();
        assert_eq!(reach(port), Ok(()));
        drop(listener);
        let refused = format!("cannot connect to localhost:{port}: Connection refused");
        assert_eq!(reach(port).unwrap_err().message(), refused);
    }

    #[test]
    fn ipv6_alone_will_do() {
        match TcpListener::bind(("::1", 0)) {
            Ok(listener) => assert_eq!(reach(listener.local_addr().unwrap().port()), Ok(())),
            Err(error) => assert_eq!(error.kind(), ErrorKind::AddrNotAvailable, "this machine has no IPv6: {error}"),
        }
    }
}
