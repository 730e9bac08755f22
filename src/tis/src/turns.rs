// SPDX-License-Identifier: BSD-2-Clause
//! One command at a time among the processes that share a bus because one was forked from the other: [`Turns`].

use crate::clock::{Clock, Patience};
use crate::registers::TIMEOUT_B;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_RDLCK, F_UNLCK, F_WRLCK, SEEK_SET, c_int, flock};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use tcti_core::io::file_in_memory;
use tcti_core::{Rc, Result, Wait, fail};

/// A file that these processes alone have, and that nothing is ever written to. Who has locked its first byte has the
/// turn, who has locked the second has the next one: a record lock (fcntl(2)) belongs to one process, is not inherited,
/// and ends with that process. The offset, which they have in common, counts the turns.
pub(crate) struct Turns {
    file: File,
    /// The number of our last turn.
    mine: Option<u64>,
}

/// Whose the turn before was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Of this process: all is as it left it.
    Mine,
    /// Another's, or there was none.
    Anothers,
}

/// The byte that is locked.
#[derive(Clone, Copy)]
enum Place {
    Turn = 0,
    Next = 1,
}

impl Turns {
    /// For a bus that no other process has yet.
    pub(crate) fn new() -> Result<Turns> {
        let file = file_in_memory(c"tcti-spi")
            .map_err(|error| fail!(Rc::IO_ERROR, "cannot make a file in memory: {error}"))?;
        Ok(Turns { file: file.into(), mine: None })
    }

    /// Waits for a turn, as long as a TPM may take to become ready. Of two processes each waits for one turn of the other
    /// at most; of more, the one that finds the place free is next.
    pub(crate) fn begin(&mut self, clock: &mut dyn Clock) -> Result<Last> {
        let begun = self.wait(clock);
        self.unlock(Place::Next);
        begun
    }

    fn wait(&mut self, clock: &mut dyn Clock) -> Result<Last> {
        let mut patience = Patience::new(Wait::Millis(TIMEOUT_B));
        let mut is_next = false;
        loop {
            is_next = is_next || self.lock(Place::Next)?;
            if is_next {
                if let Some(last) = self.try_begin()? {
                    return Ok(last);
                }
            }
            if patience.pause(clock)?.is_none() {
                let process = match self.holder() {
                    // None between two turns, or one of another PID namespace.
                    ..=0 => "another process".to_owned(),
                    process => format!("process {process}"),
                };
                return Err(fail!(
                    Rc::IO_ERROR,
                    "the TPM is at work for {process}, with which this one shares the bus since one was forked from the \
                     other. Try again when that process has its response"
                ));
            }
        }
    }

    /// Begins a turn if it is free.
    pub(crate) fn try_begin(&mut self) -> Result<Option<Last>> {
        match self.lock(Place::Turn)? {
            true => self.note().map(Some),
            false => Ok(None),
        }
    }

    /// Ends the turn.
    pub(crate) fn end(&self) {
        self.unlock(Place::Turn);
    }

    /// Whether this process had a turn.
    pub(crate) fn had_one(&self) -> bool {
        self.mine.is_some()
    }

    /// This process was forked from the one that this belonged to, and had no turn yet.
    pub(crate) fn inherited(&mut self) {
        self.mine = None;
    }

    /// Counts the turn that has begun.
    fn note(&mut self) -> Result<Last> {
        let before = (&self.file).stream_position().map_err(failed)?;
        let last = if self.mine == Some(before) { Last::Mine } else { Last::Anothers };
        let now = (&self.file).seek(SeekFrom::Start(before + 1)).map_err(failed)?;
        self.mine = Some(now);
        Ok(last)
    }

    fn lock(&self, place: Place) -> Result<bool> {
        match fcntl(&self.file, FcntlArg::F_SETLK(&record(F_WRLCK, place))) {
            Ok(_) => Ok(true),
            Err(Errno::EACCES | Errno::EAGAIN) => Ok(false),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Fails only for a descriptor that is none; then nothing is locked.
    fn unlock(&self, place: Place) {
        let _ = fcntl(&self.file, FcntlArg::F_SETLK(&record(F_UNLCK, place)));
    }

    /// The process that has the turn, for a message.
    fn holder(&self) -> i32 {
        let mut asked = record(F_RDLCK, Place::Turn);
        let _ = fcntl(&self.file, FcntlArg::F_GETLK(&mut asked));
        asked.l_pid
    }
}

/// A lock of one byte. Its types are narrower than those of their values in C.
fn record(kind: c_int, place: Place) -> flock {
    flock { l_type: kind as _, l_whence: SEEK_SET as _, l_start: place as _, l_len: 1, l_pid: 0 }
}

fn failed(error: io::Error) -> Rc {
    fail!(Rc::IO_ERROR, "cannot take turns with the processes that share the bus: {error}")
}

#[cfg(test)]
pub(crate) mod elsewhere;
#[cfg(test)]
mod tests;
