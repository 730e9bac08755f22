// SPDX-License-Identifier: BSD-2-Clause
//! Record locks (fcntl(2)) on a file in memory to which nothing is written: [`Locks`]. Such a lock belongs to one process,
//! is not inherited, and ends with that process however it ends.
#![forbid(unsafe_code)]

use crate::io::file_in_memory;
use crate::{Error, Result, ReturnCode};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_RDLCK, F_UNLCK, F_WRLCK, SEEK_SET, c_int, flock};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

/// A byte of the file, and what its lock means.
#[derive(Clone, Copy)]
pub(super) enum Lock {
    /// An exchange is under way.
    Turn = 0,
    /// The next turn is promised, so that two processes with many commands let each other in.
    Next = 1,
    /// The process that opened the connection has not ended, nor finalized its context.
    Opener = 2,
}

/// The file, which forked processes have, too.
pub(super) struct Locks {
    pub(super) file: File,
    /// Tells the file from another one that has its number since the host closed it.
    pub(super) identity: (u64, u64),
}

impl Locks {
    pub(super) fn new() -> io::Result<Locks> {
        let file = File::from(file_in_memory(c"tcti-turns")?);
        let identity = identity(&file).ok_or(io::ErrorKind::NotFound)?;
        Ok(Locks { file, identity })
    }

    /// Whether the host has left the file open.
    pub(super) fn are_there(&self) -> bool {
        identity(&self.file) == Some(self.identity)
    }

    pub(super) fn lock(&self, place: Lock) -> Result<bool> {
        match fcntl(&self.file, FcntlArg::F_SETLK(&record(F_WRLCK, place))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Fails only for a descriptor that is closed; then nothing is locked.
    pub(super) fn unlock(&self, place: Lock) {
        let _ = fcntl(&self.file, FcntlArg::F_SETLK(&record(F_UNLCK, place)));
    }

    /// The process that has locked this, by its number here; 0 or less for one of another PID namespace.
    pub(super) fn holder(&self, place: Lock) -> Result<Option<i32>> {
        let mut asked = record(F_RDLCK, place);
        fcntl(&self.file, FcntlArg::F_GETLK(&mut asked)).map_err(failed)?;
        Ok((c_int::from(asked.l_type) != F_UNLCK).then_some(asked.l_pid))
    }
}

/// Device and inode.
pub(super) fn identity(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// A lock of one byte. Its types are narrower than those of their values in C.
pub(super) fn record(kind: c_int, place: Lock) -> flock {
    flock { l_type: kind as _, l_whence: SEEK_SET as _, l_start: place as _, l_len: 1, l_pid: 0 }
}

fn failed(error: Errno) -> Error {
    crate::fail!(
        ReturnCode::IO_ERROR,
        "cannot take turns with the processes that share the connection: {}",
        error.desc()
    )
}
