// SPDX-License-Identifier: BSD-2-Clause
//! One exchange at a time among the processes that share a connection because one was forked from the other: [`Turns`].
//!
//! Two things are shared. A page of memory says what is under way, and whether there is anybody to take turns with; a
//! process that never forked needs no system call. Locks end with their process, however it ends.
#![forbid(unsafe_code)]

mod locks;

use crate::deadline::Deadline;
use crate::sys::{SharedPage, Words};
use crate::transport::{Inheritance, LastExchange, Sharing};
use crate::{Error, Result, ReturnCode};
use locks::{Lock, Locks};
use rustix::thread::futex;
use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// How long a command waits for its turn. A TPM may work on one command that long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a process that has its turn waits for the end of an exchange that broke off. Less, since others wait for it.
pub const RESUME_PATIENCE: Duration = Duration::from_secs(30);

/// How often who waits looks whether the process that it waits for has died, which wakes nobody.
const LOOK: Duration = Duration::from_millis(50);

/// The number of the process that opened the connection. Each other one takes the next with its first turn.
const OPENER: u32 = 1;

/// What the page says of the last exchange.
mod exchange {
    /// It is over, and nothing is left of it.
    pub(super) const WHOLE: u32 = 0;
    /// It is under way, and its process has locked `Lock::Turn`. Without that lock, the process has died.
    pub(super) const LOCKED: u32 = 1;
    /// It is under way in the process that opened the connection, which did not know of another one.
    pub(super) const UNLOCKED: u32 = 2;
    /// It failed, or was given up; something may be left of it.
    pub(super) const BROKEN_OFF: u32 = 3;
}

/// The turns of one process.
pub(crate) enum Turns {
    /// On a connection that is not shared.
    Alone(Left),
    Shared(Shared),
}

pub(crate) struct Shared {
    page: SharedPage,
    locks: Locks,
    /// 0 before the first turn in a forked process.
    number: u32,
    turn: Turn,
    patience: Duration,
}

/// The turn of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    None,
    /// There is nobody to share with, as far as is known.
    Unlocked,
    Locked,
}

/// What is left of an exchange at the end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    Something,
}

impl Turns {
    /// For a connection that no other process has yet. A system that denies what sharing takes (seccomp(2), no
    /// descriptor left) leaves it to forked processes to agree among themselves, as with the C modules.
    pub(crate) fn new(is_shared: bool) -> Turns {
        let shared = is_shared.then(|| {
            let made = Shared::new();
            made.inspect_err(|error| log::debug!("processes that are forked from here on take no turns: {error}")).ok()
        });
        shared.flatten().map_or(Turns::Alone(Left::Nothing), Turns::Shared)
    }

    /// Waits for a turn, [`PATIENCE`] at most. `IO_ERROR` names the process that has it.
    pub(crate) fn begin(&mut self) -> Result<LastExchange> {
        match self {
            Turns::Alone(Left::Nothing) => Ok(LastExchange::Ours),
            Turns::Alone(Left::Something) => Ok(LastExchange::Interrupted),
            Turns::Shared(shared) => shared.begin(),
        }
    }

    /// In a turn, the connection is another one, which nobody shares yet.
    pub(crate) fn part(&mut self) {
        if let Turns::Shared(_) = self {
            *self = Turns::new(true); // whoever has the turn before is told that something may be left
            let _ = self.begin(); // of nobody else
        }
    }

    /// Ends the turn, if there is one.
    pub(crate) fn end(&mut self, now: Left) {
        match self {
            Turns::Alone(left) => *left = now,
            Turns::Shared(shared) => shared.end(now),
        }
    }

    /// The last turn, at the end of the context: whether others have used the connection, and what was before. `None`
    /// while another process has the connection, and for one that never used it.
    pub(crate) fn last(&mut self) -> Option<(Sharing, LastExchange)> {
        match self {
            Turns::Alone(Left::Nothing) => Some((Sharing::Exclusive, LastExchange::Ours)),
            Turns::Alone(Left::Something) => Some((Sharing::Exclusive, LastExchange::Interrupted)),
            Turns::Shared(shared) => shared.last(),
        }
    }

    /// This process was forked from the one that this belonged to, and had no turn yet.
    pub(crate) fn after_fork(&mut self) -> Inheritance {
        match self {
            Turns::Shared(shared) if shared.locks.are_there() => {
                (shared.number, shared.turn) = (0, Turn::None);
                Inheritance::Shared
            }
            Turns::Shared(_) => {
                log::warn!("the descriptors of this context were closed; it is opened again");
                std::mem::forget(std::mem::replace(self, Turns::Alone(Left::Nothing)));
                Inheritance::Nothing
            }
            Turns::Alone(left) => {
                *left = Left::Nothing;
                Inheritance::Copies
            }
        }
    }
}

/// Whoever comes next is told that something may be left.
impl Drop for Shared {
    fn drop(&mut self) {
        self.end(Left::Something);
    }
}

impl Shared {
    fn new() -> io::Result<Shared> {
        let page = SharedPage::new()?;
        let locks = Locks::new()?;
        if !locks.lock(Lock::Opener).is_ok_and(|locked| locked) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        page.last.store(OPENER, SeqCst);
        page.numbers.store(OPENER, SeqCst);
        Ok(Shared { page, locks, number: OPENER, turn: Turn::None, patience: PATIENCE })
    }

    /// In a turn it goes on with that.
    fn begin(&mut self) -> Result<LastExchange> {
        if self.turn != Turn::None {
            return Ok(LastExchange::Ours);
        }
        if let Some(before) = self.begin_alone() {
            return Ok(before);
        }
        self.join();
        // Where nobody waits this takes one system call, and the end of the turn another.
        if self.page.waiting.load(SeqCst) == 0 {
            if let Some(before) = self.try_lock()? {
                return Ok(before);
            }
        }
        self.queue(&Deadline::within(self.patience))
    }

    /// Begins a turn that is free.
    fn try_begin(&mut self) -> Result<Option<LastExchange>> {
        if let Some(before) = self.begin_alone() {
            return Ok(Some(before));
        }
        self.join();
        self.try_lock()
    }

    /// Begins a turn without a lock, which only the opener does, and only while nobody has joined it. It says so before
    /// it looks, and who joins says so before it looks (`join`, `take`): one of the two sees the other.
    fn begin_alone(&mut self) -> Option<LastExchange> {
        let Words { shared, exchange, .. } = &*self.page;
        if self.number != OPENER || shared.load(SeqCst) != 0 {
            return None;
        }
        let before = exchange.load(SeqCst);
        if before == exchange::LOCKED || exchange.compare_exchange(before, exchange::UNLOCKED, SeqCst, SeqCst).is_err()
        {
            return None;
        }
        if shared.load(SeqCst) != 0 {
            exchange.store(before, SeqCst);
            self.ring();
            return None;
        }
        self.turn = Turn::Unlocked;
        Some(self.begun(before, OPENER))
    }

    /// From here on the connection is shared.
    fn join(&mut self) {
        if self.number == 0 {
            self.number = self.page.numbers.fetch_add(1, SeqCst).wrapping_add(1);
        }
        self.page.shared.store(1, SeqCst);
    }

    /// Waits in the line of those that wait for a turn. The end of a turn wakes the next one of them, not all.
    fn queue(&mut self, deadline: &Deadline) -> Result<LastExchange> {
        let begun = self.wait_in_line(deadline);
        self.locks.unlock(Lock::Next);
        // Who still waits says so again, once awake.
        self.page.waiting.store(0, SeqCst);
        for bell in [&self.page.bell, &self.page.line] {
            bell.fetch_add(1, SeqCst);
            wake(bell);
        }
        begun
    }

    fn wait_in_line(&mut self, deadline: &Deadline) -> Result<LastExchange> {
        let mut is_next = false;
        loop {
            // The bells are read first: who clears `waiting` rings after that, and this one does not fall asleep then.
            let (bell, line) = (self.page.bell.load(SeqCst), self.page.line.load(SeqCst));
            self.page.waiting.store(1, SeqCst);
            is_next = is_next || self.locks.lock(Lock::Next)?;
            if is_next {
                if let Some(before) = self.try_lock()? {
                    return Ok(before);
                }
            }
            if deadline.has_passed() {
                return Err(self.too_late());
            }
            match is_next {
                true => wait(&self.page.bell, bell, deadline),
                false => wait(&self.page.line, line, deadline),
            }
        }
    }

    /// Locks the turn if it is free, and takes it.
    fn try_lock(&mut self) -> Result<Option<LastExchange>> {
        if !self.locks.lock(Lock::Turn)? {
            return Ok(None);
        }
        let taken = self.take();
        if !matches!(taken, Ok(Some(_))) {
            self.locks.unlock(Lock::Turn);
            // The opener may have ended its turn in between, and somebody have found this lock.
            if self.page.exchange.load(SeqCst) != exchange::UNLOCKED {
                self.ring();
            }
        }
        taken
    }

    /// Takes the turn that is locked, unless the opener has one without a lock.
    fn take(&mut self) -> Result<Option<LastExchange>> {
        loop {
            let before = self.page.exchange.load(SeqCst);
            if before == exchange::UNLOCKED && self.number != OPENER && self.locks.holder(Lock::Opener)?.is_some() {
                return Ok(None);
            }
            if self.page.exchange.compare_exchange(before, exchange::LOCKED, SeqCst, SeqCst).is_ok() {
                self.turn = Turn::Locked;
                let last = self.page.last.swap(self.number, SeqCst);
                return Ok(Some(self.begun(before, last)));
            }
        }
    }

    /// From here on an exchange of this process is under way.
    fn begun(&self, before: u32, last: u32) -> LastExchange {
        match before {
            exchange::WHOLE if last == self.number => LastExchange::Ours,
            exchange::WHOLE => LastExchange::Theirs,
            _ => LastExchange::Interrupted,
        }
    }

    fn last(&mut self) -> Option<(Sharing, LastExchange)> {
        let before = match self.turn {
            Turn::Unlocked | Turn::Locked => LastExchange::Interrupted,
            Turn::None if self.number == 0 => return None,
            Turn::None => self.try_begin().ok()??,
        };
        let company = if self.page.shared.load(SeqCst) == 0 { Sharing::Exclusive } else { Sharing::Shared };
        Some((company, before))
    }

    fn end(&mut self, left: Left) {
        let left = match left {
            Left::Nothing => exchange::WHOLE,
            Left::Something => exchange::BROKEN_OFF,
        };
        match std::mem::replace(&mut self.turn, Turn::None) {
            Turn::None => return,
            Turn::Unlocked => self.page.exchange.store(left, SeqCst),
            Turn::Locked => {
                self.page.exchange.store(left, SeqCst);
                self.locks.unlock(Lock::Turn);
            }
        }
        if self.page.shared.load(SeqCst) != 0 {
            self.ring();
        }
    }

    /// Wakes the one that is next.
    fn ring(&self) {
        self.page.bell.fetch_add(1, SeqCst);
        if self.page.waiting.load(SeqCst) != 0 {
            wake(&self.page.bell);
        }
    }

    /// The error of a wait that was too long.
    fn too_late(&self) -> Error {
        let opener = self.page.exchange.load(SeqCst) == exchange::UNLOCKED;
        let place = if opener { Lock::Opener } else { Lock::Turn };
        let process = match self.locks.holder(place) {
            Ok(Some(process @ 1..)) => format!("process {process}"),
            // One of another PID namespace, or none between two turns.
            _ => "another process".to_owned(),
        };
        crate::fail!(
            ReturnCode::IO_ERROR,
            "the TPM is at work for {process}, which shares the connection with this one since one was forked from the \
             other. This command has waited {} s for its turn. Try again when that process has its response",
            self.patience.as_secs()
        )
    }
}

/// Wakes one process, if one waits for this bell.
fn wake(bell: &AtomicU32) {
    let _ = futex::wake(bell, futex::Flags::empty(), 1);
}

/// Waits for the bell, but not for long: no bell rings when a process dies.
fn wait(bell: &AtomicU32, rung: u32, deadline: &Deadline) {
    let patience = deadline.remaining().map_or(LOOK, |left| left.min(LOOK));
    let timeout = futex::Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos() as _ };
    // Whatever ends the wait, the caller looks again.
    let _ = futex::wait(bell, futex::Flags::empty(), rung, Some(&timeout));
}

#[cfg(any(test, feature = "testing"))]
mod elsewhere;
#[cfg(any(test, feature = "testing"))]
pub use elsewhere::{Elsewhere, ItsTurn};
#[cfg(test)]
mod tests;
