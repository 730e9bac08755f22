// SPDX-License-Identifier: BSD-2-Clause
//! The state machine of a TCTI over any transport (TCG "TSS 2.0 TCTI API" v1.0, section 3.3). Does no I/O of
//! its own and knows no pointer; `ffi` maps each call of C to one method here.

use crate::deadline::Wait;
use crate::generation::Generation;
use crate::header::{HEADER_SIZE, Header};
use crate::ready::Ready;
use crate::rx::{MAX_RESPONSE, RxBuf};
use crate::transport::{LastExchange, PollHandle, Progress, Transport};
use crate::turns::{Left, Turns};
use crate::{Result, ReturnCode};
use nix::libc::POLLIN;

/// Largest command we send, in bytes.
pub const MAX_COMMAND: usize = MAX_RESPONSE;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A command may be sent. C calls it TRANSMIT.
    Transmit,
    /// A command was sent and its response is not whole yet. C calls it RECEIVE.
    Awaiting,
    /// The response is whole, checked and not collected yet. C calls it RECEIVE too.
    Ready,
}

/// What a receive gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// The size that was asked for, in bytes; the response stays.
    Size(usize),
    /// The response has so many bytes, more than there is room; it stays.
    TooLarge(usize),
    /// The response; the session is in TRANSMIT.
    Response(&'a [u8]),
}

/// A transport with the states of a TCTI.
pub struct Session<T: Transport> {
    transport: T,
    state: State,
    rx: RxBuf,
    ready: Ready,
    /// Of the process that the exchange belongs to.
    owner: Generation,
    turns: Turns,
}

impl<T: Transport> Session<T> {
    /// A session that is ready for a command.
    pub fn new(transport: T) -> Session<T> {
        Session {
            turns: Turns::new(transport.is_shared()),
            transport,
            state: State::Transmit,
            rx: RxBuf::new(),
            ready: Ready::new(),
            owner: Generation::current(),
        }
    }

    /// What it is made of.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Where the session stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Begins a call: the only way to use a session, one call at a time. In a process that was forked the session is its
    /// own from here on, in TRANSMIT: the command in progress, if there was one, and its response are the parent's. An
    /// error is the answer of the call.
    pub fn enter(&mut self) -> Result<Entered<'_, T>> {
        self.claim();
        self.transport.available()?;
        Ok(Entered(self))
    }

    /// Makes this process the owner.
    fn claim(&mut self) {
        let current = Generation::current();
        if current != self.owner {
            log::debug!("this process was forked from the one that the context was used in");
            self.owner = current;
            self.transport.after_fork(self.turns.after_fork());
            self.rx.clear();
            self.state = State::Transmit;
        }
    }

    /// Begins a turn, in which nothing is left of earlier exchanges.
    fn begin(&mut self) -> Result<()> {
        let resumed = match self.turns.begin()? {
            LastExchange::Ours => Ok(()),
            before => self.transport.resume(before),
        };
        resumed.inspect_err(|_| self.abandon())
    }

    /// Goes on with a connection of its own, if that is so.
    fn part(&mut self) {
        if self.transport.took_own_connection() {
            self.turns.part();
        }
    }

    /// Goes from `Awaiting` to `Ready`, or to `Transmit` on an error.
    fn complete(&mut self, wait: Wait) -> Result<()> {
        let received = self.transport.recv(&mut self.rx, wait);
        self.part();
        match received.and_then(|progress| self.check(progress)) {
            Ok(()) => {
                self.state = State::Ready;
                self.turns.end(Left::Nothing);
                Ok(())
            }
            Err(error) => {
                if error.code() != ReturnCode::TRY_AGAIN {
                    self.abandon();
                }
                Err(error)
            }
        }
    }

    /// The one check that every response passes: its header says as many bytes as arrived.
    fn check(&self, progress: Progress) -> Result<()> {
        match (progress, self.rx.missing()?) {
            (Progress::Pending, _) => Err(ReturnCode::TRY_AGAIN.into()),
            (Progress::Complete, 0) => Ok(()),
            (Progress::Complete, missing) => Err(crate::fail!(
                ReturnCode::MALFORMED_RESPONSE,
                "the response broke off after {} bytes, {missing} are missing",
                self.rx.len()
            )),
        }
    }

    /// Runs a function in a turn of its own. It leaves the connection as good as it was, or none.
    fn between<R>(&mut self, function: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        self.begin()?;
        let result = function(&mut self.transport);
        self.turns.end(Left::Nothing);
        result
    }

    fn abandon(&mut self) {
        self.transport.abandon();
        self.turns.end(Left::Something);
        self.rx.clear();
        self.state = State::Transmit;
    }

    fn expect(&self, in_order: bool, call: &str) -> Result<()> {
        if in_order {
            return Ok(());
        }
        Err(crate::fail!(
            ReturnCode::BAD_SEQUENCE,
            "{call} {}",
            match self.state {
                State::Transmit => "without a command that this process has sent",
                State::Awaiting | State::Ready => "while the response to the last command is not collected",
            }
        ))
    }
}

/// A session in the middle of a call.
pub struct Entered<'a, T: Transport>(&'a mut Session<T>);

impl<'a, T: Transport> Entered<'a, T> {
    /// The state of the session.
    pub const fn state(&self) -> State {
        self.0.state()
    }

    /// Sends a command. `BAD_SEQUENCE` while a response is due; `BAD_VALUE`, before any byte leaves, when the
    /// header does not say the size of the buffer.
    pub fn transmit(self, command: &[u8]) -> Result<()> {
        let Entered(session) = self;
        session.expect(session.state == State::Transmit, "transmit")?;
        let header = Header::parse(command).ok_or_else(|| {
            crate::fail!(
                ReturnCode::BAD_VALUE,
                "a command has at least {HEADER_SIZE} bytes, this one {}",
                command.len()
            )
        })?;
        if !header.says(command.len()) || command.len() > MAX_COMMAND {
            return Err(crate::fail!(
                ReturnCode::BAD_VALUE,
                "the header of the command says {} bytes, the caller {}",
                header.size,
                command.len()
            ));
        }
        log::debug!("sending command {:#x}: {}", header.code, crate::log::Hex(command));
        session.begin()?;
        session.rx.clear();
        let sent = session.transport.send(command);
        session.part();
        if let Err(rc) = sent {
            session.abandon();
            return Err(rc);
        }
        session.state = State::Awaiting;
        Ok(())
    }

    /// Collects the response into `room` bytes, or with `None` asks for its size. `BAD_SEQUENCE` without a
    /// command, `TRY_AGAIN` when the response is not whole in time, `MALFORMED_RESPONSE` when it is not one; any
    /// error but the first two ends the exchange.
    pub fn receive(self, room: Option<usize>, wait: Wait) -> Result<Received<'a>> {
        let Entered(session) = self;
        session.expect(session.state != State::Transmit, "receive")?;
        if session.state == State::Awaiting {
            session.complete(wait)?;
        }
        let size = session.rx.len();
        match room {
            None => Ok(Received::Size(size)),
            Some(room) if room < size => Ok(Received::TooLarge(size)),
            Some(_) => {
                session.state = State::Transmit;
                session.transport.response_taken();
                log::debug!("received {}", crate::log::Hex(session.rx.as_slice()));
                Ok(Received::Response(session.rx.as_slice()))
            }
        }
    }

    /// Cancels the command under way; its response is lost and the session in TRANSMIT.
    pub fn cancel(self) -> Result<()> {
        let Entered(session) = self;
        let cancel = T::CANCEL.ok_or(ReturnCode::NOT_IMPLEMENTED)?;
        session.expect(session.state != State::Transmit, "cancel")?;
        match session.state {
            State::Ready => session.transport.response_taken(), // too late to cancel: the response is here, and dropped
            State::Transmit | State::Awaiting => cancel(&mut session.transport)?,
        }
        session.turns.end(Left::Something);
        session.rx.clear();
        session.state = State::Transmit;
        Ok(())
    }

    /// Sets the locality of later commands; not while a response is due. 5 to 31 are reserved (TPM 2.0 Library Part 2,
    /// TPMA_LOCALITY) and `BAD_VALUE`.
    pub fn set_locality(self, locality: u8) -> Result<()> {
        let Entered(session) = self;
        let set_locality = T::SET_LOCALITY.ok_or(ReturnCode::NOT_IMPLEMENTED)?;
        session.expect(session.state == State::Transmit, "setLocality")?;
        if (5..32).contains(&locality) {
            return Err(crate::fail!(
                ReturnCode::BAD_VALUE,
                "locality {locality} is reserved; there are 0 to 4 and 32 to 255"
            ));
        }
        session.between(|transport| set_locality(transport, locality))
    }

    /// What to poll for the response. While none is awaited, or receive would not wait for it, poll returns at once:
    /// libtss2-fapi has its callers poll between two commands, too, and they would never come back.
    pub fn poll_handles(self) -> Result<Vec<PollHandle>> {
        let Entered(session) = self;
        let poll_handles = T::POLL_HANDLES.ok_or(ReturnCode::NOT_IMPLEMENTED)?;
        let fds = poll_handles(&mut session.transport)?;
        match session.state {
            State::Awaiting if !fds.is_empty() => {
                Ok(fds.into_iter().map(|fd| PollHandle { fd, events: POLLIN, revents: 0 }).collect())
            }
            State::Transmit | State::Awaiting | State::Ready => Ok(vec![session.ready.handle()?]),
        }
    }

    /// Runs a module's own function (a reset, say), giving up whatever is under way. A response that is here is dropped
    /// alone: its turn is over, and another process may have the connection.
    pub fn preempt<R>(self, function: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let Entered(session) = self;
        match session.state {
            State::Transmit => {}
            State::Awaiting => session.abandon(),
            State::Ready => {
                session.transport.response_taken();
                session.rx.clear();
                session.state = State::Transmit;
            }
        }
        session.between(function)
    }

    /// Runs a module's own function beside the exchange under way, which goes on.
    pub fn beside<R>(self, function: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let Entered(session) = self;
        match session.state {
            State::Awaiting => function(&mut session.transport), // the turn is ours
            State::Transmit | State::Ready => session.between(function),
        }
    }
}

/// What tests of transports need: calls that enter by themselves, and a second process to share a session with.
#[cfg(any(test, feature = "testing"))]
impl<T: Transport> Session<T> {
    /// [`Entered::transmit`]
    pub fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.enter()?.transmit(command)
    }

    /// [`Entered::receive`]
    pub fn receive(&mut self, room: Option<usize>, wait: Wait) -> Result<Received<'_>> {
        self.enter()?.receive(room, wait)
    }

    /// [`Entered::cancel`]
    pub fn cancel(&mut self) -> Result<()> {
        self.enter()?.cancel()
    }

    /// [`Entered::set_locality`]
    pub fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.enter()?.set_locality(locality)
    }

    /// [`Entered::poll_handles`]
    pub fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.enter()?.poll_handles()
    }

    /// [`Entered::preempt`]
    pub fn preempt<R>(&mut self, function: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        self.enter()?.preempt(function)
    }

    /// [`Entered::beside`]
    pub fn beside<R>(&mut self, function: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        self.enter()?.beside(function)
    }

    /// The process that this session's connection is shared with; `None` when it is not shared.
    pub fn elsewhere(&self) -> Option<crate::turns::Elsewhere> {
        self.turns.elsewhere()
    }

    /// Makes this session the one that the other process has.
    pub fn be(&mut self, other: &crate::turns::Elsewhere) {
        self.turns = other.turns();
    }

    /// How long to wait for a turn.
    pub fn set_patience(&mut self, patience: std::time::Duration) {
        self.turns.set_patience(patience);
    }

    /// The transport.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }
}

/// The end of a context. What other processes share goes on.
impl<T: Transport> Drop for Session<T> {
    fn drop(&mut self) {
        self.claim();
        let Some((company, before)) = self.turns.last() else { return };
        let left = match before {
            LastExchange::Ours => Left::Nothing,
            LastExchange::Theirs => {
                if let Err(error) = self.transport.resume(before) {
                    log::warn!("{error}");
                }
                Left::Nothing
            }
            LastExchange::Interrupted => Left::Something,
        };
        self.transport.close(company);
        self.turns.end(left);
    }
}

#[cfg(test)]
mod tests;
