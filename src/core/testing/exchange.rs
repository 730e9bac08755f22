// SPDX-License-Identifier: BSD-2-Clause
//! Any exchange with a TPM: how the bytes of the response arrive, and what the caller asks meanwhile. [`follow_the_ideal`]
//! goes through it and holds each answer against those of an ideal transport, which has nothing of a response before it
//! has all of it.

use crate::deadline::{Deadline, Wait};
use crate::io::wait_for;
use crate::rx::RxBuf;
use crate::session::{Received, Session, State};
use crate::sys::{is_ready, unread};
use crate::testing::listen;
use crate::transport::{GetPollHandles, Inheritance, Progress, Transport};
use crate::{Result, ReturnCode};
use nix::poll::PollFlags;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What happens next.
#[derive(Clone, Debug)]
pub enum Move {
    /// So many bytes more arrive, as far as there are so many.
    Arrive(usize),
    /// The caller asks for the size.
    AskSize(Wait),
    /// The caller offers room for so many bytes.
    Collect(usize, Wait),
    /// The caller asks for the size, or offers room, and while it waits the rest arrives: pieces of so many bytes, and what
    /// is left.
    Await(Vec<usize>, Option<usize>, Wait),
    /// The caller polls.
    Poll,
    /// The caller sends a command though a response is due.
    Transmit,
}

/// A command, its response, and what happens between the two. A response that is not collected then is collected.
#[derive(Clone, Debug)]
pub struct Exchange {
    command: Vec<u8>,
    response: Vec<u8>,
    moves: Vec<Move>,
}

/// Some exchanges whose responses have at most so many bytes.
pub fn exchanges(largest: usize) -> impl Strategy<Value = Vec<Exchange>> {
    let wait = prop_oneof![6 => Just(Wait::Millis(0)), 1 => Just(Wait::Millis(1)), 1 => Just(Wait::Forever)];
    let long = prop_oneof![Just(Wait::Forever), Just(Wait::Millis(600_000))];
    let few_or_many = move |few: usize| prop_oneof![3 => 0..=few, 1 => 0..=largest];
    let next = prop_oneof![
        4 => few_or_many(12).prop_map(Move::Arrive),
        2 => wait.clone().prop_map(Move::AskSize),
        2 => (few_or_many(40), wait).prop_map(|(room, wait)| Move::Collect(room, wait)),
        1 => (vec(few_or_many(12), 0..4), option::of(few_or_many(40)), long)
            .prop_map(|(pieces, room, wait)| Move::Await(pieces, room, wait)),
        1 => Just(Move::Poll),
        1 => Just(Move::Transmit),
    ];
    let size = prop_oneof![3 => 10..=40_usize, 1 => 10..=largest];
    let exchange = (10..=40_usize, size, any::<u8>(), vec(next, 0..12)).prop_map(|(command, response, mark, moves)| {
        Exchange { command: message(command, mark), response: message(response, mark), moves }
    });
    vec(exchange, 1..4)
}

/// So many bytes with a header; `mark` tells them from others.
fn message(size: usize, mark: u8) -> Vec<u8> {
    let header = [&[0x80, 0x01][..], &u32::try_from(size).unwrap().to_be_bytes()].concat();
    header.into_iter().chain((mark..=u8::MAX).cycle()).take(size).collect()
}

/// The other end of a transport.
pub trait Peer: Send {
    /// Whether poll may return once more than there is something new.
    const IS_RESTLESS: bool = false;
    /// Takes a command that was sent, and gives it.
    fn command(&mut self, size: usize) -> Vec<u8>;
    /// Sends these bytes.
    fn send(&mut self, bytes: &[u8]);
    /// How many bytes have arrived and are not read, where the caller polls this descriptor.
    fn unread(&self, polled: RawFd) -> usize {
        unread(polled)
    }
    /// What is sent for a response.
    fn wrap(&self, response: &[u8]) -> Vec<u8> {
        response.to_vec()
    }
}

/// Where an exchange is, for an ideal transport.
struct Ideal<'a> {
    exchange: &'a Exchange,
    state: State,
    /// What is still to arrive.
    wire: Vec<u8>,
    /// Whether something arrived since the caller asked last.
    is_news: bool,
}

impl Ideal<'_> {
    /// What arrives next, so many bytes as far as there are so many.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.wire.split_off(self.wire.len().min(count));
        let bytes = core::mem::replace(&mut self.wire, rest);
        self.is_news |= !bytes.is_empty();
        bytes
    }

    fn receive(&mut self, room: Option<usize>) -> Result<Received<'_>> {
        let response = &self.exchange.response;
        if self.state == State::Transmit {
            return Err(ReturnCode::BAD_SEQUENCE.into());
        }
        self.is_news = false;
        if !self.wire.is_empty() {
            return Err(ReturnCode::TRY_AGAIN.into());
        }
        self.state = State::Ready;
        match room {
            None => Ok(Received::Size(response.len())),
            Some(room) if room < response.len() => Ok(Received::TooLarge(response.len())),
            Some(_) => {
                self.state = State::Transmit;
                Ok(Received::Response(response))
            }
        }
    }

    /// As the caller wants it, or without a wait where that would have no end.
    fn may_wait(&self, wait: Wait) -> Wait {
        if self.wire.is_empty() || wait != Wait::Forever { wait } else { Wait::Millis(0) }
    }

    fn poll_returns(&self) -> bool {
        self.state != State::Awaiting || self.is_news
    }
}

/// Goes through exchanges; panics where the session answers otherwise than an ideal transport.
pub fn follow_the_ideal<T: Transport>(session: &mut Session<T>, peer: &mut impl Peer, exchanges: &[Exchange]) {
    for exchange in exchanges {
        assert_eq!(session.transmit(&exchange.command), Ok(()));
        assert_eq!(peer.command(exchange.command.len()), exchange.command);
        let wire = peer.wrap(&exchange.response);
        let mut ideal = Ideal { exchange, state: State::Awaiting, wire, is_news: false };
        for next in &exchange.moves {
            step(session, peer, &mut ideal, next);
        }
        if ideal.state != State::Transmit {
            for next in [Move::Arrive(usize::MAX), Move::Poll, Move::Collect(exchange.response.len(), Wait::Forever)] {
                step(session, peer, &mut ideal, &next);
            }
        }
        assert_eq!(session.state(), State::Transmit);
    }
}

fn step<T: Transport, P: Peer>(session: &mut Session<T>, peer: &mut P, ideal: &mut Ideal<'_>, next: &Move) {
    match next {
        Move::Arrive(count) => arrive(session, peer, &ideal.take(*count)),
        Move::Await(pieces, room, wait) => {
            let pieces = pieces.iter().copied().chain([usize::MAX]).map(|count| ideal.take(count)).collect::<Vec<_>>();
            assert_eq!(receive_in_pieces(session, peer, &pieces, *room, *wait), ideal.receive(*room));
        }
        Move::AskSize(wait) => {
            let wait = ideal.may_wait(*wait);
            assert_eq!(session.receive(None, wait), ideal.receive(None));
        }
        Move::Collect(room, wait) => {
            let wait = ideal.may_wait(*wait);
            assert_eq!(session.receive(Some(*room), wait), ideal.receive(Some(*room)));
        }
        Move::Poll => {
            let mut handles = session.poll_handles().unwrap();
            let (returns, expected) = (is_ready(&mut handles), ideal.poll_returns());
            assert!(returns == expected || returns && P::IS_RESTLESS, "poll returns: {returns}, {handles:?}");
        }
        Move::Transmit if ideal.state == State::Transmit => {}
        Move::Transmit => assert_eq!(session.transmit(&ideal.exchange.command), Err(ReturnCode::BAD_SEQUENCE.into())),
    }
    assert_eq!(session.state(), ideal.state);
}

fn polled<T: Transport>(session: &mut Session<T>) -> RawFd {
    session.poll_handles().unwrap().first().unwrap().fd
}

/// Sends bytes, and waits until they are where the transport can read them.
fn arrive<T: Transport>(session: &mut Session<T>, peer: &mut impl Peer, bytes: &[u8]) {
    let polled = polled(session);
    let before = peer.unread(polled);
    peer.send(bytes);
    while peer.unread(polled) < before + bytes.len() {
        thread::yield_now();
    }
}

/// Receives while bytes arrive. Each piece is sent once all before it was read, when the caller can only wait for it.
fn receive_in_pieces<'a, T: Transport>(
    session: &'a mut Session<T>,
    peer: &mut impl Peer,
    pieces: &[Vec<u8>],
    room: Option<usize>,
    wait: Wait,
) -> Result<Received<'a>> {
    let polled = polled(session);
    let has_returned = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for piece in pieces {
                peer.send(piece);
                while peer.unread(polled) > 0 && !has_returned.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            }
        });
        let answer = session.receive(room, wait);
        has_returned.store(true, Ordering::Relaxed);
        answer
    })
}

/// A transport over a socket pair, and its other end.
pub fn pair() -> (Near, File) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    (Near(near), OwnedFd::from(far).into())
}

/// Accepts the next connection.
pub type Accept = Box<dyn Fn() -> File + Send>;

/// A server that listens on the loopback, or at a path, and the configuration string that leads there with both channels.
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

/// A transport over a socket, as simple as can be.
pub struct Near(UnixStream);

impl Transport for Near {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        self.0.write_all(command).map_err(|_| ReturnCode::IO_ERROR.into())
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let deadline = Deadline::after(wait);
        while rx.missing()? > 0 {
            match rx.read_with(|room| self.0.read(room))? {
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

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|near| Ok(vec![near.0.as_raw_fd()]));
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
