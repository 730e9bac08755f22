// SPDX-License-Identifier: BSD-2-Clause
//! The connections that pass through a proxy, one after the other as the servers serve them. A fault that is armed strikes
//! one exchange.

use super::{Framing, address};
use crate::wire::{End, Then, Wire};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tss2_kit::server::Address;

/// How long the other direction stays after a half close, and silence before the end of a connection that lied.
const LINGER: Duration = Duration::from_millis(20);

/// What is done to the connections, and what is known of them.
#[derive(Default)]
pub(super) struct State {
    fault: Mutex<Fault>,
    /// Whether one passes through.
    pub(super) is_open: AtomicBool,
}

#[derive(Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    Armed(Wire),
    /// It has struck.
    Met,
}

struct Line {
    framing: Framing,
    server: SockAddr,
    domain: Domain,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes on what comes to `at`, where port 0 is one that is free, from now on. Gives the port.
pub(super) fn start(at: &Address, server: &Address, framing: Framing, state: Arc<State>) -> Option<u16> {
    let (here, domain) = address(at);
    let listener = Socket::new(domain, Type::STREAM, None).unwrap();
    listener.bind(&here).unwrap();
    listener.listen(64).unwrap();
    let port = listener.local_addr().unwrap().as_socket().map(|address| address.port());
    let (server, domain) = address(server);
    let line = Line { framing, server, domain };
    thread::spawn(move || {
        loop {
            let (client, _) = listener.accept().unwrap();
            state.is_open.store(true, Ordering::SeqCst);
            // A connection that fails is over; the next may be better.
            let _ = line.serve(client, &state.fault);
            state.is_open.store(false, Ordering::SeqCst);
        }
    });
    port
}

impl State {
    /// Lets this happen to the next exchange.
    pub(super) fn arm(&self, wire: Wire) {
        *lock(&self.fault) = Fault::Armed(wire);
    }

    /// Lets nothing happen any more. Whether it has happened.
    pub(super) fn disarm(&self) -> bool {
        std::mem::take(&mut *lock(&self.fault)) == Fault::Met
    }
}

/// The fault that is armed, if it strikes now.
fn take(fault: &Mutex<Fault>, strikes: impl FnOnce(&Wire) -> bool) -> Option<Wire> {
    let mut fault = lock(fault);
    match std::mem::take(&mut *fault) {
        Fault::Armed(wire) if strikes(&wire) => {
            *fault = Fault::Met;
            Some(wire)
        }
        other => {
            *fault = other;
            None
        }
    }
}

impl Line {
    fn serve(&self, mut client: Socket, fault: &Mutex<Fault>) -> io::Result<()> {
        if take(fault, |wire| *wire == Wire::Refused).is_some() {
            return Ok(());
        }
        let mut server = Socket::new(self.domain, Type::STREAM, None)?;
        server.connect(&self.server)?;
        if self.domain == Domain::IPV4 {
            server.set_tcp_nodelay(true)?;
            client.set_tcp_nodelay(true)?;
            // A connection per command must not use up all ports.
            server.set_linger(Some(Duration::ZERO))?;
        }
        let mut buffer = [0; 8192];
        // A fault strikes a whole answer, not the rest of one.
        let mut begins = true;
        loop {
            let [from_client, from_server] = readable(&client, &server)?;
            if from_client {
                let count = client.read(&mut buffer)?;
                let unheard = count > 0 && take(fault, |wire| *wire == Wire::Unheard).is_some();
                if count == 0 || unheard {
                    return Ok(());
                }
                server.write_all(&buffer[..count])?;
                begins = true;
                if self.domain == Domain::IPV4 {
                    server.set_tcp_quickack(true)?; // a simulator writes in pieces
                }
            }
            if from_server {
                let count = server.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                match take(fault, |wire| begins && !matches!(wire, Wire::Refused | Wire::Unheard)) {
                    None => {
                        client.write_all(&buffer[..count])?;
                        begins = false;
                    }
                    Some(wire) => {
                        let mut answer = buffer[..count].to_vec();
                        while !self.framing.is_whole(&answer) {
                            let count = server.read(&mut buffer)?;
                            answer.extend_from_slice(&buffer[..count]);
                            if count == 0 {
                                return client.write_all(&answer);
                            }
                        }
                        if !self.strike(wire, answer, &mut client)? {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Whether the connection goes on.
    fn strike(&self, wire: Wire, mut answer: Vec<u8>, client: &mut Socket) -> io::Result<bool> {
        match wire {
            Wire::Refused | Wire::Unheard => return Ok(false),
            Wire::Pieces(size) => {
                for piece in answer.chunks(size) {
                    client.write_all(piece)?;
                    thread::sleep(Duration::from_micros(50)); // so that they are pieces
                }
            }
            Wire::Withheld(time, then) => {
                thread::sleep(time);
                if then == Then::End {
                    return Ok(false);
                }
                client.write_all(&answer)?;
            }
            Wire::Cut(count, end) => {
                client.write_all(&answer[..count.min(answer.len())])?;
                match end {
                    End::Close => {}
                    End::Half => {
                        client.shutdown(Shutdown::Write)?;
                        thread::sleep(LINGER);
                    }
                    End::Reset => client.set_linger(Some(Duration::ZERO))?,
                }
                return Ok(false);
            }
            Wire::Junk(junk) => {
                client.write_all(&[junk, answer].concat())?;
                thread::sleep(LINGER);
                return Ok(false);
            }
            Wire::Trailing(junk) => client.write_all(&[answer, junk].concat())?,
            Wire::Twice => client.write_all(&[&answer[..], &answer].concat())?,
            Wire::Size(size) => {
                let at = if self.framing == Framing::Raw { 2 } else { 0 };
                answer[at..at + 4].copy_from_slice(&size.to_be_bytes());
                client.write_all(&answer)?;
                thread::sleep(LINGER);
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Framing {
    fn is_whole(self, answer: &[u8]) -> bool {
        let number = |at: usize| {
            let bytes = answer.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_be_bytes(bytes)).ok()
        };
        let whole = match self {
            Framing::Raw => number(2),
            Framing::Enveloped => number(0).map(|size| size + 8),
            Framing::Word => Some(4),
        };
        whole.is_some_and(|whole| answer.len() >= whole)
    }
}

fn readable(client: &Socket, server: &Socket) -> io::Result<[bool; 2]> {
    let mut fds = [client, server].map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
    poll(&mut fds, PollTimeout::NONE)?;
    Ok(fds.each_ref().map(|fd| fd.any().unwrap_or_default()))
}
