// SPDX-License-Identifier: BSD-2-Clause
//! The least that each protocol needs: one gathered write, as few reads as the answer takes, nothing checked but its
//! size. No module can be faster in the same pattern of connections.

use crate::subject::Subject;
use anyhow::{Context, Result, ensure};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tss2_kit::server::Address;

/// Reads until `whole` says how many bytes there are, and they are.
fn collect(peer: &mut impl Read, buffer: &mut [u8], whole: impl Fn(&[u8]) -> Option<usize>) -> Result<usize> {
    let mut len = 0;
    loop {
        let count = peer.read(buffer.get_mut(len..).unwrap_or_default())?;
        ensure!(count > 0, "the peer has closed the connection");
        len += count;
        let got = buffer.get(..len).unwrap_or_default();
        if whole(got).is_some_and(|whole| whole <= len) {
            return Ok(len);
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))?;
    usize::try_from(number).ok()
}

fn raw(bytes: &[u8]) -> Option<usize> {
    be32(bytes, 2)
}

fn enveloped(bytes: &[u8]) -> Option<usize> {
    be32(bytes, 0).map(|size| size + 8)
}

/// A connection to where a server's first channel is.
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

/// A connection per command, over TCP closed without TIME_WAIT.
pub(crate) fn each(at: Address) -> Subject {
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

/// One connection, kept.
pub(crate) fn kept(at: Address) -> Subject {
    Box::new(move || {
        let mut peer = connect(&at)?;
        let mut buffer = vec![0; 4096];
        Ok(Box::new(move |command| {
            peer.write_all(command)?;
            collect(&mut peer, &mut buffer, raw)
        }))
    })
}

/// The simulators' envelope on a kept connection. The session ends with its connection.
pub(crate) fn mssim(at: Address) -> Subject {
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

/// A child with two pipes.
pub(crate) fn pipes(command: String) -> Subject {
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

/// A device: one write, one read.
pub(crate) fn device(path: PathBuf) -> Subject {
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

/// The same, with each message appended to a file.
pub(crate) fn recorded(subject: Subject) -> Subject {
    Box::new(move || {
        let mut carrier = subject()?;
        let mut file = tempfile::tempfile()?;
        let response = [0; 4096];
        Ok(Box::new(move |command| {
            file.write_all(command)?;
            let size = carrier(command)?;
            file.write_all(response.get(..size).unwrap_or_default())?;
            Ok(size)
        }))
    })
}
