// SPDX-License-Identifier: BSD-2-Clause
//! Serialises the exchanges of processes that share a connection after a fork, one exchange per turn: `Turns`.
//!
//! The processes share two things: a page of memory with the state of the last exchange, and record locks, which the kernel
//! releases when a process ends for any reason. A process that never forks needs no system call.
#![forbid(unsafe_code)]

mod locks;

use crate::deadline::Deadline;
use crate::sys::{SharedPage, SharedState};
use crate::transport::{Inheritance, LastExchange, Sharing};
use crate::{Error, Result, ReturnCode};
use locks::{Lock, Locks};
use rustix::thread::futex;
use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// How long a command waits for its turn. A TPM may need this long for one command.
pub const TURN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a process that has its turn waits for the end of an interrupted exchange. Shorter than [`TURN_TIMEOUT`], because other
/// processes wait for this one.
pub const RESUME_TIMEOUT: Duration = Duration::from_secs(30);

/// The message about file descriptors whose numbers may belong to other files by now.
pub(crate) const CLOSED: &str = "the program has closed the file descriptors of this context";

/// How often a waiting process checks whether the process that it waits for has died, since a death wakes nobody.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The ID of the process that opened the connection. Every other process takes the next ID with its first turn.
const CREATOR_ID: u32 = 1;

/// The states of the last exchange in the shared page.
mod exchange {
    /// It is complete, and none of its bytes is in flight.
    pub(super) const COMPLETE: u32 = 0;
    /// It is in progress, and its process holds `Lock::Turn`. If nobody holds that lock, the process has died.
    pub(super) const LOCKED: u32 = 1;
    /// It is in progress in the process that opened the connection, which found that no other process had joined.
    pub(super) const UNLOCKED: u32 = 2;
    /// It failed or was abandoned; some of its bytes may be in flight.
    pub(super) const INTERRUPTED: u32 = 3;
}

/// The turns of one process.
pub(crate) enum Turns {
    /// On a connection that is not shared; says how the last exchange ended.
    Exclusive(Outcome),
    /// On a connection that forked processes share.
    Shared(Shared),
}

/// One of the processes that share a connection.
pub(crate) struct Shared {
    page: SharedPage,
    locks: Locks,
    /// 0 before the first turn in a forked process.
    id: u32,
    turn: Turn,
    timeout: Duration,
}

/// The turn of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    None,
    /// In progress without a lock: no other process has joined.
    Unlocked,
    Locked,
}

/// How the exchange of a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// None of its bytes is in flight.
    Complete,
    /// It failed or was abandoned; some of its bytes may be in flight.
    Interrupted,
}

impl Turns {
    /// Creates the turns of a connection that no other process has yet. If the system denies what sharing needs (seccomp(2),
    /// too many open files), forked processes have to coordinate among themselves, as with the C modules.
    pub(crate) fn new(is_shared: bool) -> Turns {
        let shared = is_shared.then(|| {
            let made = Shared::new();
            made.inspect_err(|error| log::debug!("forked processes cannot share this connection in turns: {error}"))
                .ok()
        });
        shared.flatten().map_or(Turns::Exclusive(Outcome::Complete), Turns::Shared)
    }

    /// Waits for a turn, for at most [`TURN_TIMEOUT`], and returns how the last exchange ended. Continues a turn that has begun.
    /// Fails with `IO_ERROR` and a message that names the process whose turn it is.
    pub(crate) fn begin(&mut self) -> Result<LastExchange> {
        match self {
            Turns::Exclusive(Outcome::Complete) => Ok(LastExchange::Ours),
            Turns::Exclusive(Outcome::Interrupted) => Ok(LastExchange::Interrupted),
            Turns::Shared(shared) => shared.begin(),
        }
    }

    /// Starts over, within a turn, for a new connection that no other process has yet.
    pub(crate) fn renew(&mut self) {
        if let Turns::Shared(_) = self {
            *self = Turns::new(true); // dropping the old one marks its exchange as interrupted
            let _ = self.begin(); // no other process can have the turn
        }
    }

    /// Ends the turn, if it has begun.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        match self {
            Turns::Exclusive(last) => *last = outcome,
            Turns::Shared(shared) => shared.end(outcome),
        }
    }

    /// Begins the last turn, in which the context is finalized. Returns whether other processes have used the connection, and
    /// how the last exchange ended; `None` while it is the turn of another process, and if this one never used the
    /// connection.
    pub(crate) fn begin_last(&mut self) -> Option<(Sharing, LastExchange)> {
        match self {
            Turns::Exclusive(Outcome::Complete) => Some((Sharing::Exclusive, LastExchange::Ours)),
            Turns::Exclusive(Outcome::Interrupted) => Some((Sharing::Exclusive, LastExchange::Interrupted)),
            Turns::Shared(shared) => shared.begin_last(),
        }
    }

    /// Called in a forked process before its first turn. Returns what it inherits.
    pub(crate) fn after_fork(&mut self) -> Inheritance {
        match self {
            Turns::Shared(shared) if shared.locks.are_open() => {
                (shared.id, shared.turn) = (0, Turn::None);
                Inheritance::Shared
            }
            Turns::Shared(_) => {
                log::warn!("{CLOSED}; the next command connects again");
                *self = Turns::Exclusive(Outcome::Complete);
                Inheritance::Copies
            }
            Turns::Exclusive(last) => {
                *last = Outcome::Complete;
                Inheritance::Copies
            }
        }
    }
}

/// Marks an unfinished exchange as interrupted.
impl Drop for Shared {
    fn drop(&mut self) {
        self.end(Outcome::Interrupted);
    }
}

impl Shared {
    fn new() -> io::Result<Shared> {
        let page = SharedPage::new()?;
        let locks = Locks::new()?;
        if !locks.lock(Lock::Creator).map_err(io::Error::other)? {
            return Err(io::ErrorKind::Unsupported.into());
        }
        page.last_id.store(CREATOR_ID, SeqCst);
        page.highest_id.store(CREATOR_ID, SeqCst);
        Ok(Shared { page, locks, id: CREATOR_ID, turn: Turn::None, timeout: TURN_TIMEOUT })
    }

    /// Waits for a turn, or continues the one that has begun.
    fn begin(&mut self) -> Result<LastExchange> {
        if self.turn != Turn::None {
            return Ok(LastExchange::Ours);
        }
        if let Some(last) = self.begin_unlocked() {
            return Ok(last);
        }
        self.join();
        // While no process waits, a turn takes one system call here and one at its end.
        if self.page.waiting.load(SeqCst) == 0 {
            if let Some(last) = self.try_lock()? {
                return Ok(last);
            }
        }
        self.wait_for_turn(&Deadline::within(self.timeout))
    }

    /// Begins a turn if it is free.
    fn try_begin(&mut self) -> Result<Option<LastExchange>> {
        if let Some(last) = self.begin_unlocked() {
            return Ok(Some(last));
        }
        self.join();
        self.try_lock()
    }

    /// Begins a turn without a lock. Only the process that opened the connection does so, and only while no other process has
    /// joined. It stores `UNLOCKED` before it reads `shared`, and a process that joins stores `shared` before it reads
    /// `exchange` (`join`, `mark_locked`), so one of the two sees the store of the other.
    fn begin_unlocked(&mut self) -> Option<LastExchange> {
        let SharedState { shared, exchange, .. } = &*self.page;
        if self.id != CREATOR_ID || shared.load(SeqCst) != 0 {
            return None;
        }
        let before = exchange.load(SeqCst);
        if before == exchange::LOCKED || exchange.compare_exchange(before, exchange::UNLOCKED, SeqCst, SeqCst).is_err()
        {
            return None;
        }
        if shared.load(SeqCst) != 0 {
            exchange.store(before, SeqCst);
            self.wake_next();
            return None;
        }
        self.turn = Turn::Unlocked;
        Some(self.last_exchange(before, CREATOR_ID))
    }

    /// Marks the connection as shared, and takes an ID.
    fn join(&mut self) {
        if self.id == 0 {
            self.id = self.page.highest_id.fetch_add(1, SeqCst).wrapping_add(1);
        }
        self.page.shared.store(1, SeqCst);
    }

    /// Waits in the queue for a turn. The end of a turn wakes only the next process.
    fn wait_for_turn(&mut self, deadline: &Deadline) -> Result<LastExchange> {
        let begun = self.wait_in_queue(deadline);
        self.locks.unlock(Lock::Next);
        // Processes that still wait set this again when they wake up.
        self.page.waiting.store(0, SeqCst);
        for word in [&self.page.turn_futex, &self.page.queue_futex] {
            word.fetch_add(1, SeqCst);
            wake(word);
        }
        begun
    }

    fn wait_in_queue(&mut self, deadline: &Deadline) -> Result<LastExchange> {
        let mut is_next = false;
        loop {
            // The futexes are read before `waiting` is set: a process that clears it changes them afterwards, and then the
            // wait below returns at once.
            let (turn, queue) = (self.page.turn_futex.load(SeqCst), self.page.queue_futex.load(SeqCst));
            self.page.waiting.store(1, SeqCst);
            is_next = is_next || self.locks.lock(Lock::Next)?;
            if is_next {
                if let Some(last) = self.try_lock()? {
                    return Ok(last);
                }
            }
            if deadline.has_passed() {
                return Err(self.timed_out());
            }
            match is_next {
                true => wait(&self.page.turn_futex, turn, deadline),
                false => wait(&self.page.queue_futex, queue, deadline),
            }
        }
    }

    /// Locks the turn if it is free, and begins it.
    fn try_lock(&mut self) -> Result<Option<LastExchange>> {
        if !self.locks.lock(Lock::Turn)? {
            return Ok(None);
        }
        let begun = self.mark_locked();
        if !matches!(begun, Ok(Some(_))) {
            self.locks.unlock(Lock::Turn);
            // The creator may have ended its turn in the meantime, and another process may have found the turn locked.
            if self.page.exchange.load(SeqCst) != exchange::UNLOCKED {
                self.wake_next();
            }
        }
        begun
    }

    /// Marks the exchange as locked by this process, unless the creator has an unlocked turn.
    fn mark_locked(&mut self) -> Result<Option<LastExchange>> {
        loop {
            let before = self.page.exchange.load(SeqCst);
            if before == exchange::UNLOCKED && self.id != CREATOR_ID && self.locks.holder(Lock::Creator)?.is_some() {
                return Ok(None);
            }
            if self.page.exchange.compare_exchange(before, exchange::LOCKED, SeqCst, SeqCst).is_ok() {
                self.turn = Turn::Locked;
                let last_id = self.page.last_id.swap(self.id, SeqCst);
                return Ok(Some(self.last_exchange(before, last_id)));
            }
        }
    }

    /// Returns how the last exchange ended, from its state and the ID of its process.
    fn last_exchange(&self, state: u32, last_id: u32) -> LastExchange {
        match state {
            exchange::COMPLETE if last_id == self.id => LastExchange::Ours,
            exchange::COMPLETE => LastExchange::Theirs,
            _ => LastExchange::Interrupted,
        }
    }

    fn begin_last(&mut self) -> Option<(Sharing, LastExchange)> {
        let last = match self.turn {
            Turn::Unlocked | Turn::Locked => LastExchange::Interrupted,
            Turn::None if self.id == 0 => return None,
            Turn::None => self.try_begin().inspect_err(Error::warn).ok()??,
        };
        let sharing = if self.page.shared.load(SeqCst) == 0 { Sharing::Exclusive } else { Sharing::Shared };
        Some((sharing, last))
    }

    fn end(&mut self, outcome: Outcome) {
        let state = match outcome {
            Outcome::Complete => exchange::COMPLETE,
            Outcome::Interrupted => exchange::INTERRUPTED,
        };
        match std::mem::replace(&mut self.turn, Turn::None) {
            Turn::None => return,
            Turn::Unlocked => self.page.exchange.store(state, SeqCst),
            Turn::Locked => {
                self.page.exchange.store(state, SeqCst);
                self.locks.unlock(Lock::Turn);
            }
        }
        if self.page.shared.load(SeqCst) != 0 {
            self.wake_next();
        }
    }

    /// Wakes the next process.
    fn wake_next(&self) {
        self.page.turn_futex.fetch_add(1, SeqCst);
        if self.page.waiting.load(SeqCst) != 0 {
            wake(&self.page.turn_futex);
        }
    }

    /// Returns the error of a wait that has timed out.
    fn timed_out(&self) -> Error {
        let is_unlocked = self.page.exchange.load(SeqCst) == exchange::UNLOCKED;
        let lock = if is_unlocked { Lock::Creator } else { Lock::Turn };
        let process = match self.locks.holder(lock) {
            Ok(Some(process @ 1..)) => format!("process {process}"),
            // A process of another PID namespace, or no process: the turn has just ended.
            _ => "another process".to_owned(),
        };
        crate::fail!(
            ReturnCode::IO_ERROR,
            "the TPM is executing a command of {process}, which shares this connection after a fork. This command has waited {} s for its turn. Try again when that process has its response",
            self.timeout.as_secs()
        )
    }
}

/// Wakes one of the processes that wait on a futex.
fn wake(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Waits until a futex no longer has the value `seen`, for at most [`CHECK_INTERVAL`].
fn wait(word: &AtomicU32, seen: u32, deadline: &Deadline) {
    let time = deadline.remaining().map_or(CHECK_INTERVAL, |left| left.min(CHECK_INTERVAL));
    let timeout = futex::Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos() as _ };
    // The caller checks again, whatever has ended the wait.
    let _ = futex::wait(word, futex::Flags::empty(), seen, Some(&timeout));
}

#[cfg(any(test, feature = "testing"))]
mod other_process;
#[cfg(any(test, feature = "testing"))]
pub use other_process::{OtherProcess, OtherTurn};
#[cfg(test)]
mod tests;
