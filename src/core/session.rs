// SPDX-License-Identifier: BSD-2-Clause
//! The state machine of a TCTI over any transport (TCG "TSS 2.0 TCTI API" v1.0, section 3.3). Every call begins with
//! [`Session::enter`]. Does no I/O itself and handles no pointers; `tcti-ffi` maps each C function to one method here.

use crate::deadline::Wait;
use crate::generation::Generation;
use crate::header::{HEADER_SIZE, Header};
use crate::poll_set::PollSet;
use crate::rx::{MAX_RESPONSE, RxBuf};
use crate::transport::{LastExchange, PollHandle, Progress, Transport};
use crate::turns::{CLOSED, Outcome, Turns};
use crate::{Error, Result, ReturnCode};

/// The largest command that is sent, in bytes.
pub const MAX_COMMAND: usize = MAX_RESPONSE;

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A command may be sent. The specification calls this TRANSMIT.
    Transmit,
    /// A command was sent, and its response is not complete yet. The specification calls this RECEIVE.
    Awaiting,
    /// The response is complete and valid, and the caller has not taken it yet. The specification calls this RECEIVE, too.
    Ready,
}

/// The result of a receive.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// The caller asked for the size of the response, in bytes; the response stays.
    Size(usize),
    /// The response has this many bytes, more than the buffer of the caller; it stays.
    TooLarge(usize),
    /// The response; the session is back in TRANSMIT.
    Response(&'a [u8]),
}

/// A transport, with the states of a TCTI.
pub struct Session<T: Transport> {
    transport: T,
    state: State,
    rx: RxBuf,
    /// What the caller polls; absent until it asks for it.
    polled: Option<PollSet>,
    /// The process that the exchange in progress belongs to.
    owner: Generation,
    turns: Turns,
}

impl<T: Transport> Session<T> {
    /// Creates a session that is ready for a command.
    pub fn new(transport: T) -> Session<T> {
        Session {
            turns: Turns::new(transport.is_shared()),
            transport,
            state: State::Transmit,
            rx: RxBuf::new(),
            polled: None,
            owner: Generation::current(),
        }
    }

    /// Returns the transport.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Returns the state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Begins a call: the only way to use a session, one call at a time. In a forked process the first call takes the
    /// session over, in TRANSMIT: a command in progress and its response belong to the parent. An error is the result of the
    /// call.
    pub fn enter(&mut self) -> Result<Entered<'_, T>> {
        self.claim();
        // A call that returns a response which has arrived does not use the connection.
        if self.state != State::Ready {
            self.drop_closed()?;
        }
        self.transport.available()?;
        Ok(Entered(self))
    }

    /// Ends a call. Overwrites a response that the caller has taken, and by now copied.
    pub fn leave(&mut self) {
        if self.state == State::Transmit {
            self.rx.clear();
        }
    }

    /// Makes this process the owner, if it was forked from the owner.
    fn claim(&mut self) {
        let current = Generation::current();
        if current != self.owner {
            log::debug!("the context is used for the first time in this forked process");
            self.owner = current;
            self.transport.after_fork(self.turns.after_fork());
            self.rx.clear();
            self.state = State::Transmit;
            if T::POLL_HANDLES.is_some() {
                PollSet::after_fork(&mut self.polled);
            }
        }
    }

    /// Notices that the program has closed the connection, as daemons close every file descriptor. Fails if a response was due.
    fn drop_closed(&mut self) -> Result<()> {
        if !self.transport.drop_closed() {
            return Ok(());
        }
        let is_due = self.state == State::Awaiting;
        if is_due {
            self.abandon();
        }
        self.turns = Turns::new(self.transport.is_shared()); // the next connection is this process's alone
        if is_due {
            return Err(crate::fail!(
                ReturnCode::IO_ERROR,
                "{CLOSED} before the response arrived; the next command connects again"
            ));
        }
        log::warn!("{CLOSED}; the next command connects again");
        Ok(())
    }

    /// Begins a turn and removes what an earlier exchange may have left on the connection.
    fn begin(&mut self) -> Result<()> {
        let resumed = match self.turns.begin()? {
            LastExchange::Ours => Ok(()),
            last => self.transport.resume(last),
        };
        resumed.inspect_err(|_| self.abandon())
    }

    /// Points the poll set at what the caller waits for.
    fn watch(&mut self) {
        let Some(list) = T::POLL_HANDLES else { return };
        match (PollSet::checked(&mut self.polled), self.state) {
            (Some(set), State::Awaiting) => set.watch(|watch| list(&mut self.transport, watch)),
            (Some(_), State::Transmit | State::Ready) | (None, _) => {} // readable, as `checked` leaves it
        }
    }

    /// Takes the connection out of the poll set, before a call that may close it.
    fn unwatch(&mut self) {
        if T::POLL_HANDLES.is_some() && self.state == State::Awaiting {
            PollSet::checked(&mut self.polled).into_iter().for_each(PollSet::unwatch);
        }
    }

    /// Takes turns on the new connection if the transport has replaced the shared one.
    fn follow_connection(&mut self) {
        if self.transport.took_own_connection() {
            self.turns.renew();
        }
    }

    /// Receives the response: changes from `Awaiting` to `Ready`, or to `Transmit` after an error.
    fn complete(&mut self, wait: Wait) -> Result<()> {
        self.unwatch();
        let received = self.transport.recv(&mut self.rx, wait);
        self.follow_connection();
        match received.and_then(|progress| self.check(progress)) {
            Ok(()) => {
                self.state = State::Ready;
                self.turns.end(Outcome::Complete);
                self.watch();
                Ok(())
            }
            Err(error) => {
                match error.code() {
                    ReturnCode::TRY_AGAIN => self.watch(),
                    _ => self.abandon(),
                }
                Err(error)
            }
        }
    }

    /// Checks that the header of a complete response states the number of bytes that arrived. Every response passes this
    /// check, and no other.
    fn check(&self, progress: Progress) -> Result<()> {
        match (progress, self.rx.missing()?) {
            (Progress::Pending, _) => Err(ReturnCode::TRY_AGAIN.into()),
            (Progress::Complete, 0) => Ok(()),
            (Progress::Complete, missing) => Err(crate::fail!(
                ReturnCode::MALFORMED_RESPONSE,
                "the response is incomplete: {} bytes have arrived, {missing} are missing",
                self.rx.len()
            )),
        }
    }

    /// Runs a function in a turn of its own. The function must leave no bytes in flight on the connection.
    fn in_turn<R>(&mut self, function: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        self.drop_closed()?;
        self.begin()?;
        let result = function(&mut self.transport);
        self.turns.end(Outcome::Complete);
        result
    }

    /// Ends the exchange after an error.
    fn abandon(&mut self) {
        self.unwatch();
        self.transport.abandon();
        self.turns.end(Outcome::Interrupted);
        self.rx.clear();
        self.state = State::Transmit;
        self.watch();
    }

    /// Fails with `BAD_SEQUENCE` unless `call` is allowed.
    fn expect(&self, in_order: bool, call: &str) -> Result<()> {
        if in_order {
            return Ok(());
        }
        Err(crate::fail!(
            ReturnCode::BAD_SEQUENCE,
            "{call} {}",
            match self.state {
                State::Transmit => "without a command from this process",
                State::Awaiting | State::Ready => "before the response to the last command was received",
            }
        ))
    }
}

/// A session during a call; see [`Session::enter`].
pub struct Entered<'a, T: Transport>(&'a mut Session<T>);

impl<'a, T: Transport> Entered<'a, T> {
    /// Returns the state of the session.
    pub const fn state(&self) -> State {
        self.0.state()
    }

    /// Sends a command. Fails with `BAD_SEQUENCE` while a response is due, and with `BAD_VALUE`, before any byte is sent, if
    /// the header does not state the size of the buffer.
    pub fn transmit(self, command: &[u8]) -> Result<()> {
        let Entered(session) = self;
        session.expect(session.state == State::Transmit, "transmit")?;
        let header = Header::parse(command).ok_or_else(|| {
            crate::fail!(
                ReturnCode::BAD_VALUE,
                "a command has at least {HEADER_SIZE} bytes, but the caller passes {}",
                command.len()
            )
        })?;
        if !header.says(command.len()) || command.len() > MAX_COMMAND {
            return Err(crate::fail!(
                ReturnCode::BAD_VALUE,
                "the header of the command states a size of {} bytes, but the caller passes {}",
                header.size,
                command.len()
            ));
        }
        log::debug!("sending command {:#x}: {}", header.code, crate::log::Hex(command));
        session.begin()?;
        session.rx.clear();
        let sent = session.transport.send(command);
        session.follow_connection();
        if let Err(error) = sent {
            session.abandon();
            return Err(error);
        }
        session.state = State::Awaiting;
        session.watch();
        Ok(())
    }

    /// Receives the response into a buffer of `capacity` bytes, or with `None` returns its size. Fails with `BAD_SEQUENCE`
    /// without a command in progress, with `TRY_AGAIN` if the response is not complete in time, and with
    /// `MALFORMED_RESPONSE`. Every error except the first two ends the exchange.
    pub fn receive(self, capacity: Option<usize>, wait: Wait) -> Result<Received<'a>> {
        let Entered(session) = self;
        session.expect(session.state != State::Transmit, "receive")?;
        if session.state == State::Awaiting {
            session.complete(wait)?;
        }
        let size = session.rx.len();
        match capacity {
            None => Ok(Received::Size(size)),
            Some(capacity) if capacity < size => Ok(Received::TooLarge(size)),
            Some(_) => {
                session.state = State::Transmit;
                log::debug!("received {}", crate::log::Hex(session.rx.as_slice()));
                Ok(Received::Response(session.rx.as_slice()))
            }
        }
    }

    /// Cancels the command in progress; its response is lost, and the session is back in TRANSMIT.
    pub fn cancel(self) -> Result<()> {
        let Entered(session) = self;
        let cancel = T::CANCEL.ok_or(ReturnCode::NOT_IMPLEMENTED)?;
        session.expect(session.state != State::Transmit, "cancel")?;
        session.unwatch();
        let cancelled = match session.state {
            // too late to cancel: the response has arrived and is dropped
            State::Ready => Ok(()),
            State::Transmit | State::Awaiting => cancel(&mut session.transport),
        };
        if cancelled.is_ok() {
            session.turns.end(Outcome::Interrupted);
            session.rx.clear();
            session.state = State::Transmit;
        }
        session.watch();
        cancelled
    }

    /// Sets the locality of later commands. Fails with `BAD_SEQUENCE` while a response is due, and with `BAD_VALUE` for 5 to
    /// 31, which are reserved (TPM 2.0 Library Part 2, TPMA_LOCALITY).
    pub fn set_locality(self, locality: u8) -> Result<()> {
        let Entered(session) = self;
        let set_locality = T::SET_LOCALITY.ok_or(ReturnCode::NOT_IMPLEMENTED)?;
        session.expect(session.state == State::Transmit, "setLocality")?;
        if (5..32).contains(&locality) {
            return Err(crate::fail!(
                ReturnCode::BAD_VALUE,
                "locality {locality} is reserved; valid are 0 to 4 and 32 to 255"
            ));
        }
        session.in_turn(|transport| set_locality(transport, locality))
    }

    /// Returns the entry for `poll(2)`, the same for the life of the context unless the host closes it. While no response is
    /// due, or receive would not wait for it, `poll(2)` returns at once: callers of libtss2-fapi also poll between two
    /// commands and would otherwise block for ever.
    pub fn poll_handle(self) -> Result<PollHandle> {
        let Entered(session) = self;
        let list = T::POLL_HANDLES.ok_or(ReturnCode::NOT_IMPLEMENTED)?;
        if let Some(set) = PollSet::checked(&mut session.polled) {
            return Ok(set.handle());
        }
        list(&mut session.transport, &mut |_| {})?; // fails if a recorded TCTI has none
        let handle = session.polled.insert(PollSet::new()?).handle();
        session.watch();
        Ok(handle)
    }

    /// Runs a function that only this module has, such as a reset, and abandons the exchange in progress. If the response has
    /// arrived, only that is dropped and nothing is abandoned: the turn is over, and another process may be using the
    /// connection.
    pub fn preempt<R>(self, function: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let Entered(session) = self;
        match session.state {
            State::Transmit => {}
            State::Awaiting => session.abandon(),
            State::Ready => {
                session.rx.clear();
                session.state = State::Transmit;
            }
        }
        session.in_turn(function)
    }

    /// Runs a function that only this module has while the exchange in progress continues.
    pub fn alongside<R>(self, function: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let Entered(session) = self;
        match session.state {
            // In the turn of that exchange.
            State::Awaiting => {
                session.unwatch();
                let result = function(&mut session.transport);
                session.watch();
                result
            }
            State::Transmit | State::Ready => session.in_turn(function),
        }
    }
}

/// For tests of transports: calls that enter by themselves, besides those of [`Tcti`](crate::Tcti), and a simulated second process that shares the connection.
#[cfg(any(test, feature = "testing"))]
impl<T: Transport> Session<T> {
    /// Enters, and calls [`Entered::receive`].
    pub fn receive(&mut self, capacity: Option<usize>, wait: Wait) -> Result<Received<'_>> {
        self.enter()?.receive(capacity, wait)
    }

    /// Enters, and calls [`Entered::poll_handle`].
    pub fn poll_handle(&mut self) -> Result<PollHandle> {
        self.enter()?.poll_handle()
    }

    /// Enters, and calls [`Entered::preempt`].
    pub fn preempt<R>(&mut self, function: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        self.enter()?.preempt(function)
    }

    /// Enters, and calls [`Entered::alongside`].
    pub fn alongside<R>(&mut self, function: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        self.enter()?.alongside(function)
    }

    /// Returns a simulated process that shares the connection of this session; `None` if it is not shared.
    pub fn other_process(&self) -> Option<crate::turns::OtherProcess> {
        self.turns.other_process()
    }

    /// Turns this session into that of the other process.
    pub fn act_as(&mut self, other: &crate::turns::OtherProcess) {
        self.turns = other.turns();
    }

    /// Sets how long to wait for a turn.
    pub fn set_turn_timeout(&mut self, timeout: std::time::Duration) {
        self.turns.set_turn_timeout(timeout);
    }

    /// Returns the transport.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }
}

/// Finalizes the context. A connection that other processes share stays usable for them.
impl<T: Transport> Drop for Session<T> {
    fn drop(&mut self) {
        self.claim();
        if T::POLL_HANDLES.is_some() {
            PollSet::checked(&mut self.polled); // the drop closes the rest
        }
        let _ = self.drop_closed().inspect_err(Error::warn);
        let Some((sharing, last)) = self.turns.begin_last() else { return };
        let outcome = match last {
            LastExchange::Ours => Outcome::Complete,
            LastExchange::Theirs => {
                let _ = self.transport.resume(last).inspect_err(Error::warn);
                Outcome::Complete
            }
            LastExchange::Interrupted => Outcome::Interrupted,
        };
        self.transport.close(sharing);
        self.turns.end(outcome);
    }
}

#[cfg(test)]
mod tests;
