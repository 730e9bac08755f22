// SPDX-License-Identifier: BSD-2-Clause
//! The socket to the kernel. Dropping it unplugs the stick. It does not block: the owner polls it.
#![forbid(unsafe_code)]

use super::responder::Responder;
use crate::stick::Stick;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// The connection of a stick.
pub struct Link {
    socket: UnixStream,
    responder: Responder,
}

impl Link {
    /// Makes a connection over this socket, whose other end the kernel has.
    pub fn new(socket: UnixStream) -> io::Result<Link> {
        socket.set_nonblocking(true)?;
        Ok(Link { socket, responder: Responder::default() })
    }

    /// Reads pending requests, performs transfers that are due, and sends replies. Fails with `UnexpectedEof` when the
    /// kernel has closed its end, and with `InvalidData` when it does not send USB/IP.
    pub fn serve(&mut self, stick: &mut Stick) -> io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    let (now, latency) = (Instant::now(), stick.faults().latency);
                    let bytes = bytes.get(..len).unwrap_or_default();
                    let received = self.responder.receive(bytes, now, latency);
                    received.map_err(|malformed| io::Error::new(ErrorKind::InvalidData, malformed))?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.responder.work(stick, Instant::now());
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.is_behind() {
            match self.socket.write(self.responder.output()) {
                Ok(len) => drop(self.responder.output().drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the socket has to be polled for writing, too.
    pub fn is_behind(&self) -> bool {
        self.responder.has_output()
    }

    /// Returns when [`Link::serve`] has to be called at the latest; `None`: when the socket is readable.
    pub fn deadline(&self) -> Option<Instant> {
        self.responder.deadline()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
