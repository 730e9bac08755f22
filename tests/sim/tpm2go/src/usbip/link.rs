// SPDX-License-Identifier: BSD-2-Clause
//! The socket to the kernel; dropping it is pulling the stick out. It does not block: whoever has it polls it.
#![forbid(unsafe_code)]

use super::responder::Responder;
use crate::stick::Stick;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// A stick's connection.
pub struct Link {
    socket: UnixStream,
    responder: Responder,
}

impl Link {
    /// Over this socket, whose other end the kernel has.
    pub fn new(socket: UnixStream) -> io::Result<Link> {
        socket.set_nonblocking(true)?;
        Ok(Link { socket, responder: Responder::default() })
    }

    /// Reads what has come, carries out what is due and sends what is to be sent. `UnexpectedEof` when the kernel has
    /// closed its end, `InvalidData` when it sends what is not USB/IP.
    pub fn serve(&mut self, stick: &mut Stick) -> io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    let (now, latency) = (Instant::now(), stick.faults().latency);
                    let bytes = bytes.get(..len).unwrap_or_default();
                    let received = self.responder.receive(bytes, now, latency);
                    received.map_err(|garbled| io::Error::new(ErrorKind::InvalidData, garbled))?;
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

    /// Whether the socket is to be polled for writing, too.
    pub fn is_behind(&self) -> bool {
        self.responder.has_output()
    }

    /// When [`Link::serve`] is to be called at the latest; `None`: when the socket is readable.
    pub fn deadline(&self) -> Option<Instant> {
        self.responder.deadline()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
