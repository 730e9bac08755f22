// SPDX-License-Identifier: BSD-2-Clause
//! Checks whether a simulator listens at the default address: [`probe_simulator`]. Uses neither the resolver nor the formatting
//! of addresses, to keep the loader small.

use nix::errno::Errno;
use nix::sys::socket::{SockaddrIn, SockaddrIn6, SockaddrLike};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use tcti_core::{Result, ReturnCode, fail};
use tcti_net::Stream;
use tcti_net::channels::{DEFAULT_HOST, DEFAULT_PORT, DEFAULT_TIMEOUT};

/// Connects to the default port and disconnects. Fails with `IO_ERROR` if nothing listens there.
pub(crate) fn probe_simulator() -> Result<()> {
    probe(DEFAULT_PORT)
}

/// Connects to `localhost`, which always means the loopback addresses (RFC 6761, section 6.3).
fn probe(port: u16) -> Result<()> {
    let name: Arc<str> = format!("{DEFAULT_HOST}:{port}").into();
    let connect = |address: &dyn SockaddrLike| Stream::connect(address, DEFAULT_TIMEOUT, &name).map(drop);
    connect(&SockaddrIn::new(127, 0, 0, 1, port))
        .or_else(|error: Errno| {
            // Report the error of IPv4, which is the more useful one.
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
    fn a_listener_is_found() {
        let (listener, port) = listen();
        assert_eq!(probe(port), Ok(()));
        drop(listener);
        let refused = format!("cannot connect to localhost:{port}: Connection refused");
        assert_eq!(probe(port).unwrap_err().message(), refused);
    }

    #[test]
    fn a_listener_on_ipv6_only_is_found() {
        match TcpListener::bind(("::1", 0)) {
            Ok(listener) => assert_eq!(probe(listener.local_addr().unwrap().port()), Ok(())),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::AddrNotAvailable, "only a system without IPv6 may fail: {error}")
            }
        }
    }
}
