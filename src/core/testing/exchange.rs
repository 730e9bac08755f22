// SPDX-License-Identifier: BSD-2-Clause
//! Random exchanges with a TPM: how the bytes of the response arrive, and which calls are made in the meantime.
//! [`follow_the_ideal`] executes them and compares each result with that of an ideal transport, which has nothing of a response
//! until it has all of it.

use crate::Tcti;
use crate::deadline::{Deadline, Wait};
use crate::io::wait_for;
use crate::rx::RxBuf;
use crate::session::{Received, Session, State};
use crate::sys::unread;
use crate::testing::{is_ready, listen};
use crate::transport::{GetPollHandles, Inheritance, PollHandle, Progress, Transport};
use crate::{Result, ReturnCode};
use nix::poll::PollFlags;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A step of an exchange.
#[derive(Clone, Debug)]
pub enum Action {
    /// At most this many further bytes arrive.
    Arrive(usize),
    /// The caller queries the size.
    QuerySize(Wait),
    /// The caller receives into a buffer of this many bytes.
    Receive(usize, Wait),
    /// The caller queries the size or receives into a buffer, and the rest of the response arrives while it waits: pieces of
    /// these sizes, then the remaining bytes.
    ReceiveWhileArriving(Vec<usize>, Option<usize>, Wait),
    /// The caller polls.
    Poll,
    /// The caller sends a command although a response is due.
    Transmit,
}

/// A command, its response, and the steps in between. If they leave the response in place, it is received at the end.
#[derive(Clone, Debug)]
pub struct Exchange {
    command: Vec<u8>,
    response: Vec<u8>,
    actions: Vec<Action>,
}

/// Generates exchanges whose responses have at most `largest` bytes.
pub fn exchanges(largest: usize) -> impl Strategy<Value = Vec<Exchange>> {
    let wait = prop_oneof![6 => Just(Wait::Millis(0)), 1 => Just(Wait::Millis(1)), 1 => Just(Wait::Forever)];
    let long = prop_oneof![Just(Wait::Forever), Just(Wait::Millis(600_000))];
    let few_or_many = move |few: usize| prop_oneof![3 => 0..=few, 1 => 0..=largest];
    let next = prop_oneof![
        4 => few_or_many(12).prop_map(Action::Arrive),
        2 => wait.clone().prop_map(Action::QuerySize),
        2 => (few_or_many(40), wait).prop_map(|(capacity, wait)| Action::Receive(capacity, wait)),
        1 => (vec(few_or_many(12), 0..4), option::of(few_or_many(40)), long)
            .prop_map(|(pieces, capacity, wait)| Action::ReceiveWhileArriving(pieces, capacity, wait)),
        1 => Just(Action::Poll),
        1 => Just(Action::Transmit),
    ];
    let size = prop_oneof![3 => 10..=40_usize, 1 => 10..=largest];
    let exchange =
        (10..=40_usize, size, any::<u8>(), vec(next, 0..12)).prop_map(|(command, response, mark, actions)| Exchange {
            command: message(command, mark),
            response: message(response, mark),
            actions,
        });
    vec(exchange, 1..4)
}

/// Returns a message of `size` bytes with a header; `mark` distinguishes its contents from other messages.
fn message(size: usize, mark: u8) -> Vec<u8> {
    let header = [&[0x80, 0x01][..], &u32::try_from(size).unwrap().to_be_bytes()].concat();
    header.into_iter().chain((mark..=u8::MAX).cycle()).take(size).collect()
}

/// The other end of a transport.
pub trait Peer: Send {
    /// Whether poll may return more often than bytes arrive.
    const IS_RESTLESS: bool = false;
    /// Reads a command of `size` bytes and returns it.
    fn command(&mut self, size: usize) -> Vec<u8>;
    /// Sends bytes to the transport.
    fn send(&mut self, bytes: &[u8]);
    /// Returns how many bytes have arrived that were not read yet. `watched` is the file descriptor of the transport.
    fn unread(&self, watched: RawFd) -> usize {
        unread(watched)
    }
    /// Returns the bytes that are sent for a response.
    fn wrap(&self, response: &[u8]) -> Vec<u8> {
        response.to_vec()
    }
}

/// The state of an exchange with an ideal transport.
struct Ideal<'a> {
    exchange: &'a Exchange,
    state: State,
    /// The bytes that have not arrived yet.
    in_flight: Vec<u8>,
    /// Whether bytes have arrived since the last receive.
    has_new_bytes: bool,
    /// The first poll handle, with which the caller polls for the life of the session.
    handle: Option<PollHandle>,
}

impl Ideal<'_> {
    /// Lets at most `count` bytes arrive, and returns them.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.in_flight.split_off(self.in_flight.len().min(count));
        let bytes = core::mem::replace(&mut self.in_flight, rest);
        self.has_new_bytes |= !bytes.is_empty();
        bytes
    }

    fn receive(&mut self, capacity: Option<usize>) -> Result<Received<'_>> {
        let response = &self.exchange.response;
        if self.state == State::Transmit {
            return Err(ReturnCode::BAD_SEQUENCE.into());
        }
        self.has_new_bytes = false;
        if !self.in_flight.is_empty() {
            return Err(ReturnCode::TRY_AGAIN.into());
        }
        self.state = State::Ready;
        match capacity {
            None => Ok(Received::Size(response.len())),
            Some(capacity) if capacity < response.len() => Ok(Received::TooLarge(response.len())),
            Some(_) => {
                self.state = State::Transmit;
                Ok(Received::Response(response))
            }
        }
    }

    /// Returns the time-out of the caller, or 0 if the wait would never end.
    fn may_wait(&self, wait: Wait) -> Wait {
        if self.in_flight.is_empty() || wait != Wait::Forever { wait } else { Wait::Millis(0) }
    }

    fn poll_returns(&self) -> bool {
        self.state != State::Awaiting || self.has_new_bytes
    }
}

/// Executes exchanges; panics if a result differs from that of an ideal transport.
pub fn follow_the_ideal<T: Transport>(session: &mut Session<T>, peer: &mut impl Peer, exchanges: &[Exchange]) {
    let mut handle = None;
    for exchange in exchanges {
        assert_eq!(session.transmit(&exchange.command), Ok(()));
        assert_eq!(peer.command(exchange.command.len()), exchange.command);
        let in_flight = peer.wrap(&exchange.response);
        let mut ideal = Ideal { exchange, state: State::Awaiting, in_flight, has_new_bytes: false, handle };
        for next in &exchange.actions {
            step(session, peer, &mut ideal, next);
        }
        if ideal.state != State::Transmit {
            for next in
                [Action::Arrive(usize::MAX), Action::Poll, Action::Receive(exchange.response.len(), Wait::Forever)]
            {
                step(session, peer, &mut ideal, &next);
            }
        }
        assert_eq!(session.state(), State::Transmit);
        handle = ideal.handle;
    }
}

fn step<T: Transport, P: Peer>(session: &mut Session<T>, peer: &mut P, ideal: &mut Ideal<'_>, next: &Action) {
    match next {
        Action::Arrive(count) => arrive(session, peer, &ideal.take(*count)),
        Action::ReceiveWhileArriving(pieces, capacity, wait) => {
            let pieces = pieces.iter().copied().chain([usize::MAX]).map(|count| ideal.take(count)).collect::<Vec<_>>();
            assert_eq!(receive_in_pieces(session, peer, &pieces, *capacity, *wait), ideal.receive(*capacity));
        }
        Action::QuerySize(wait) => {
            let wait = ideal.may_wait(*wait);
            assert_eq!(session.receive(None, wait), ideal.receive(None));
        }
        Action::Receive(capacity, wait) => {
            let wait = ideal.may_wait(*wait);
            assert_eq!(session.receive(Some(*capacity), wait), ideal.receive(Some(*capacity)));
        }
        Action::Poll => {
            let handle = session.poll_handle().unwrap();
            assert_eq!(handle, *ideal.handle.get_or_insert(handle), "the handle must stay the same");
            let (returns, expected) = (is_ready(&mut [handle]), ideal.poll_returns());
            assert!(returns == expected || returns && P::IS_RESTLESS, "poll returns: {returns}");
        }
        Action::Transmit if ideal.state == State::Transmit => {}
        Action::Transmit => assert_eq!(session.transmit(&ideal.exchange.command), Err(ReturnCode::BAD_SEQUENCE.into())),
    }
    assert_eq!(session.state(), ideal.state);
}

/// Returns the file descriptor that the transport has the session watch; -1 without a connection.
fn watched<T: Transport>(session: &mut Session<T>) -> RawFd {
    let mut watched = -1;
    T::POLL_HANDLES.unwrap()(session.transport_mut(), &mut |fd| watched = fd).unwrap();
    watched
}

/// Sends bytes, and waits until the transport can read them.
fn arrive<T: Transport>(session: &mut Session<T>, peer: &mut impl Peer, bytes: &[u8]) {
    let watched = watched(session);
    let before = peer.unread(watched);
    peer.send(bytes);
    while peer.unread(watched) < before + bytes.len() {
        thread::yield_now();
    }
}

/// Receives while bytes arrive. Each piece is sent once all earlier ones were read, so that the caller has to wait for it.
fn receive_in_pieces<'a, T: Transport>(
    session: &'a mut Session<T>,
    peer: &mut impl Peer,
    pieces: &[Vec<u8>],
    capacity: Option<usize>,
    wait: Wait,
) -> Result<Received<'a>> {
    let watched = watched(session);
    let has_returned = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for piece in pieces {
                peer.send(piece);
                while peer.unread(watched) > 0 && !has_returned.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            }
        });
        let result = session.receive(capacity, wait);
        has_returned.store(true, Ordering::Relaxed);
        result
    })
}

/// Returns a transport over a socket pair, and the other end.
pub fn pair() -> (SocketTransport, File) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    (SocketTransport(near), OwnedFd::from(far).into())
}

/// Waits for the next connection and returns it.
pub type Accept = Box<dyn Fn() -> File + Send>;

/// Starts a server on the loopback interface or at a path. Returns it and a configuration string whose two channels both lead
/// to it.
pub fn server(tcp: bool, path: &Path) -> (Accept, String) {
    if tcp {
        let (listener, port) = listen();
        let accept = move || OwnedFd::from(listener.accept().unwrap().0).into();
        (Box::new(accept), format!("host=127.0.0.1,port={port},ctrl_port={port}"))
    } else {
        let listener = UnixListener::bind(path).unwrap();
        let accept = move || OwnedFd::from(listener.accept().unwrap().0).into();
        (Box::new(accept), format!("path={0},ctrl_path={0}", path.display()))
    }
}

/// A minimal transport over a non-blocking socket.
pub struct SocketTransport(UnixStream);

impl AsFd for SocketTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Transport for SocketTransport {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        self.0.write_all(command).map_err(|_| ReturnCode::IO_ERROR.into())
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let deadline = Deadline::after(wait);
        while rx.missing()? > 0 {
            match rx.read_with(|space| self.0.read(space))? {
                Ok(0) => return Err(ReturnCode::IO_ERROR.into()),
                Ok(_) => {}
                Err(_) if wait_for(self.0.as_fd(), PollFlags::POLLIN, &deadline)? => {}
                Err(_) => return Ok(Progress::Pending),
            }
        }
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {}

    fn after_fork(&mut self, _inheritance: Inheritance) {}

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|transport, watch| {
        watch(transport.0.as_raw_fd());
        Ok(())
    });
}

impl Peer for File {
    fn command(&mut self, size: usize) -> Vec<u8> {
        let mut command = vec![0; size];
        self.read_exact(&mut command).unwrap();
        command
    }

    fn send(&mut self, bytes: &[u8]) {
        self.write_all(bytes).unwrap();
    }
}
