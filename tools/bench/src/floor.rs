// SPDX-License-Identifier: BSD-2-Clause
//! Minimal clients of each protocol, the floor of the measurements: one gathered write, as few reads as the response needs, and
//! no checks except of its size. No module can be faster if it connects in the same pattern.

use crate::connection::Connector;
use anyhow::{Context, Result, ensure};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tss2_kit::server::Address;

/// Reads a whole response and returns its size. `size` determines the size once enough bytes have arrived.
fn collect(peer: &mut impl Read, buffer: &mut [u8], size: impl Fn(&[u8]) -> Option<usize>) -> Result<usize> {
    let mut len = 0;
    loop {
        let count = peer.read(buffer.get_mut(len..).unwrap_or_default())?;
        ensure!(count > 0, "the peer has closed the connection");
        len += count;
        let received = buffer.get(..len).unwrap_or_default();
        if size(received).is_some_and(|size| size <= len) {
            return Ok(len);
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))?;
    usize::try_from(number).ok()
}

/// Returns the size of a TPM response from its header.
fn raw(bytes: &[u8]) -> Option<usize> {
    be32(bytes, 2)
}

/// Returns the size of a response in the simulators' envelope.
fn enveloped(bytes: &[u8]) -> Option<usize> {
    be32(bytes, 0).map(|size| size + 8)
}

/// Connects to a server's command channel.
fn connect(at: &Address) -> io::Result<Socket> {
    let (domain, address) = match at {
        Address::Port(port) => (Domain::IPV4, SocketAddr::from((Ipv4Addr::LOCALHOST, *port)).into()),
        Address::Path(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let peer = Socket::new(domain, Type::STREAM, None)?;
    peer.connect(&address)?;
    Ok(peer)
}

fn is_tcp(at: &Address) -> bool {
    matches!(at, Address::Port(_))
}

/// Opens a connection per command. Over TCP, closes it without TIME_WAIT.
pub(crate) fn connection_per_command(at: Address) -> Connector {
    Box::new(move || {
        let (mut buffer, at) = (vec![0; 4096], at.clone());
        Ok(Box::new(move |command| {
            let mut peer = connect(&at)?;
            peer.write_all(command)?;
            let size = collect(&mut peer, &mut buffer, raw)?;
            if is_tcp(&at) {
                peer.set_linger(Some(Duration::ZERO))?;
            }
            Ok(size)
        }))
    })
}

/// Keeps one connection open.
pub(crate) fn kept_connection(at: Address) -> Connector {
    Box::new(move || {
        let mut peer = connect(&at)?;
        let mut buffer = vec![0; 4096];
        Ok(Box::new(move |command| {
            peer.write_all(command)?;
            collect(&mut peer, &mut buffer, raw)
        }))
    })
}

/// Keeps one connection open and uses the simulators' envelope. Closing the connection ends the session.
pub(crate) fn mssim(at: Address) -> Connector {
    Box::new(move || {
        let (mut peer, tcp) = (connect(&at)?, is_tcp(&at));
        if tcp {
            peer.set_tcp_nodelay(true)?;
        }
        let mut buffer = vec![0; 4096];
        Ok(Box::new(move |command| {
            send_enveloped(&mut peer, command)?;
            if tcp {
                peer.set_tcp_quickack(true)?;
            }
            collect(&mut peer, &mut buffer, enveloped)
        }))
    })
}

/// Communicates with a child process over two pipes.
pub(crate) fn pipes(command: String) -> Connector {
    Box::new(move || {
        let mut child =
            Command::new("/bin/sh").args(["-c", &command]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        let mut stdout = child.stdout.take().context("no stdout")?;
        let mut buffer = vec![0; 4096];
        Ok(Box::new(move |command| {
            stdin.write_all(command)?;
            collect(&mut stdout, &mut buffer, raw)
        }))
    })
}

/// Uses a device with one write and one read per command.
pub(crate) fn device(path: PathBuf) -> Connector {
    Box::new(move || {
        let mut device = File::options().read(true).write(true).open(&path)?;
        let mut buffer = vec![0; 4096];
        Ok(Box::new(move |command| {
            device.write_all(command)?;
            collect(&mut device, &mut buffer, raw)
        }))
    })
}

fn send_enveloped(peer: &mut impl Write, command: &[u8]) -> io::Result<()> {
    let size = u32::try_from(command.len()).unwrap_or_default().to_be_bytes();
    let parts = [IoSlice::new(&[0, 0, 0, 8, 0]), IoSlice::new(&size), IoSlice::new(command)];
    peer.write_vectored(&parts).map(drop)
}

/// Wraps a connector and appends each message to a file.
pub(crate) fn recorded(connector: Connector) -> Connector {
    Box::new(move || {
        let mut connection = connector()?;
        let mut file = tempfile::tempfile()?;
        let response = [0; 4096];
        Ok(Box::new(move |command| {
            file.write_all(command)?;
            let size = connection(command)?;
            file.write_all(response.get(..size).unwrap_or_default())?;
            Ok(size)
        }))
    })
}
