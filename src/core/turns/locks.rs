// SPDX-License-Identifier: BSD-2-Clause
//! Record locks (fcntl(2)) on an empty file in memory: [`Locks`]. A record lock belongs to one process, is not inherited by a
//! forked process, and is released when its process ends for any reason.
#![forbid(unsafe_code)]

use crate::io::file_in_memory;
use crate::kept::Kept;
use crate::{Error, Result, ReturnCode};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_RDLCK, F_UNLCK, F_WRLCK, SEEK_SET, c_int, flock};
use std::io;
use std::os::fd::BorrowedFd;

/// A byte of the file. A process that has locked it has this role.
#[derive(Clone, Copy)]
pub(super) enum Lock {
    /// Its exchange is in progress.
    Turn = 0,
    /// It has the next turn, so that two processes with many commands alternate.
    Next = 1,
    /// It opened the connection, and has neither ended nor finalized its context.
    Creator = 2,
}

/// The locked file, which forked processes inherit.
pub(super) struct Locks {
    pub(super) file: Kept,
}

impl Locks {
    pub(super) fn new() -> io::Result<Locks> {
        Ok(Locks { file: Kept::new(file_in_memory(c"tcti-turns")?)? })
    }

    /// Returns whether the file descriptor is still that of the file.
    pub(super) fn are_open(&self) -> bool {
        self.file.is_open()
    }

    /// Returns the file, unless the program has closed its file descriptor.
    fn open_file(&self) -> Result<BorrowedFd<'_>> {
        self.file.get().ok_or_else(|| failed(Errno::EBADF))
    }

    /// Takes a lock if it is free. Returns whether it did. `IO_ERROR` if the system does not allow it.
    pub(super) fn lock(&self, lock: Lock) -> Result<bool> {
        match fcntl(self.open_file()?, FcntlArg::F_SETLK(&record(F_WRLCK, lock))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Releases a lock. Closing the file descriptor has already done so.
    pub(super) fn unlock(&self, lock: Lock) {
        let _ = self.file.get().map(|file| fcntl(file, FcntlArg::F_SETLK(&record(F_UNLCK, lock))));
    }

    /// Returns the ID of the process that holds a lock; 0 or less for a process of another PID namespace.
    pub(super) fn holder(&self, lock: Lock) -> Result<Option<i32>> {
        let mut query = record(F_RDLCK, lock);
        fcntl(self.open_file()?, FcntlArg::F_GETLK(&mut query)).map_err(failed)?;
        Ok((c_int::from(query.l_type) != F_UNLCK).then_some(query.l_pid))
    }
}

/// Describes a lock of one byte. Some fields have narrower types than their constants.
pub(super) fn record(kind: c_int, lock: Lock) -> flock {
    flock { l_type: kind as _, l_whence: SEEK_SET as _, l_start: lock as _, l_len: 1, l_pid: 0 }
}

fn failed(error: Errno) -> Error {
    crate::fail!(
        ReturnCode::IO_ERROR,
        "cannot take turns with the processes that share the connection: {}",
        error.desc()
    )
}
