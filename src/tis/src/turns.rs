// SPDX-License-Identifier: BSD-2-Clause
//! One command at a time among the processes that share a bus because one was forked from the other: [`Turns`].

use crate::clock::{Clock, Patience};
use crate::registers::TIMEOUT_B;
use rustix::fs::{FlockOperation, MemfdFlags, SeekFrom, fcntl_lock, memfd_create, seek, tell};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::process;
use tcti_core::io::above_stdio;
use tcti_core::{Rc, Result, Wait, fail};

/// A file that only these processes have, and that nothing is ever written to. Who has locked it has the turn: a record
/// lock (fcntl(2)) belongs to one process, is not inherited, and ends with that process. The offset, which they have in
/// common, is the number of the process that had the last turn; 0 stands for none.
pub(crate) struct Turns(OwnedFd);

/// Who had the turn before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// This process: all is as it left it.
    Same,
    /// Another process, or none.
    Other,
}

impl Turns {
    /// For a bus that no other process has yet.
    pub(crate) fn new() -> Result<Turns> {
        let made = memfd_create("tcti-spi", MemfdFlags::CLOEXEC).map_err(io::Error::from).and_then(above_stdio);
        made.map(Turns).map_err(|error| fail!(Rc::IO_ERROR, "cannot make a file in memory: {error}"))
    }

    /// Waits for a turn, as long as a TPM may take to become ready.
    pub(crate) fn begin(&self, clock: &mut dyn Clock) -> Result<Before> {
        let mut patience = Patience::new(Wait::Millis(TIMEOUT_B));
        loop {
            if let Some(before) = self.try_begin()? {
                seek(&self.0, SeekFrom::Start(this_process())).map_err(failed)?;
                return Ok(before);
            }
            if patience.pause(clock)?.is_none() {
                return Err(fail!(
                    Rc::IO_ERROR,
                    "the TPM is at work for process {}, with which this one shares the bus since one was forked from \
                     the other. Try again when that process has its response",
                    tell(&self.0).unwrap_or_default()
                ));
            }
        }
    }

    /// Begins a turn if it is free, one that is not noted unless it has begun already.
    pub(crate) fn try_begin(&self) -> Result<Option<Before>> {
        match fcntl_lock(&self.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if tell(&self.0).map_err(failed)? == this_process() => Ok(Some(Before::Same)),
            Ok(()) => Ok(Some(Before::Other)),
            Err(Errno::ACCESS | Errno::AGAIN) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Ends the turn.
    pub(crate) fn end(&self) {
        // It fails only for a descriptor that is none; then there is no turn either.
        let _ = fcntl_lock(&self.0, FlockOperation::NonBlockingUnlock);
    }

    /// Ends the turn, and nothing of what this process did lasts.
    pub(crate) fn leave(&self) {
        let _ = seek(&self.0, SeekFrom::Start(0));
        self.end();
    }
}

fn this_process() -> u64 {
    process::id().into()
}

fn failed(error: Errno) -> Rc {
    fail!(Rc::IO_ERROR, "cannot take turns with the processes that share the bus: {error}")
}

#[cfg(test)]
pub(crate) mod elsewhere {
    use super::*;
    use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
    use nix::libc::{F_WRLCK, SEEK_SET, flock};
    use nix::sys::stat::Mode;
    use std::os::fd::AsRawFd;

    /// Another process, as far as this one sees it.
    pub(crate) struct Elsewhere(OwnedFd);

    /// Its turn, until dropped.
    pub(crate) struct Turn(#[expect(dead_code, reason = "it holds the lock")] OwnedFd);

    impl Turns {
        pub(crate) fn elsewhere(&self) -> Elsewhere {
            Elsewhere(self.0.try_clone().unwrap())
        }
    }

    impl Elsewhere {
        /// Begins a turn there. A lock of another description of the file is in the way of this process's as one of
        /// another process is (fcntl(2), "Open file description locks").
        pub(crate) fn begin(&self) -> Turn {
            let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
            let file = open(path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
            let (l_type, l_whence) = (F_WRLCK.try_into().unwrap(), SEEK_SET.try_into().unwrap());
            let lock = flock { l_type, l_whence, l_start: 0, l_len: 0, l_pid: 0 };
            fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
            seek(&self.0, SeekFrom::Start(u64::from(process::id()) + 1)).unwrap();
            Turn(file)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;

    #[test]
    fn a_turn_is_had_by_one_process() {
        let clock = &mut SystemClock::new();
        let turns = Turns::new().unwrap();
        let elsewhere = turns.elsewhere();
        assert_eq!(turns.begin(clock), Ok(Before::Other), "nobody before");
        assert_eq!(turns.begin(clock), Ok(Before::Same), "it goes on");
        turns.end();
        assert_eq!(turns.begin(clock), Ok(Before::Same));
        turns.end();
        let turn = elsewhere.begin();
        assert_eq!(turns.try_begin(), Ok(None));
        drop(turn);
        for _ in 0..2 {
            assert_eq!(turns.try_begin(), Ok(Some(Before::Other)));
        }
        assert_eq!(turns.begin(clock), Ok(Before::Other));
        turns.leave();
        assert_eq!(turns.begin(clock), Ok(Before::Other), "what was left is nobody's");
    }
}
