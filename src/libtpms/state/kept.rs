// SPDX-License-Identifier: BSD-2-Clause
//! A descriptor that stays open between the calls of a program. The program may close it, as daemons close whatever is
//! open, and what it opens next may get its number: so [`Kept::look`] comes before each use.
#![forbid(unsafe_code)]

use rustix::fs::{AtFlags, Statx, StatxFlags, statx};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use tcti_core::io::above_stdio;

/// An open file or directory.
pub(super) struct Kept {
    pub(super) file: File,
    identity: (u32, u32, u64),
}

impl Kept {
    /// Also what is seen of it.
    pub(super) fn new(fd: OwnedFd) -> io::Result<(Kept, Statx)> {
        let file = File::from(above_stdio(fd)?);
        let seen = look(&file, OsStr::new(""))?;
        Ok((Kept { file, identity: identity(&seen) }, seen))
    }

    /// Whether that is the same file.
    pub(super) fn is(&self, seen: &Statx) -> bool {
        identity(seen) == self.identity
    }

    /// What is seen of it now; `None` if the descriptor is another file's, or nobody's.
    pub(super) fn look(&self) -> Option<Statx> {
        look(&self.file, OsStr::new("")).ok().filter(|seen| self.is(seen))
    }

    /// Closes it, unless it is another file's.
    pub(super) fn close(self) {
        if self.look().is_none() {
            let _ = self.file.into_raw_fd();
        }
    }

    /// As if the program had closed the descriptor, and its next one had the same number.
    #[cfg(test)]
    pub(super) fn give_away(&mut self, to: &File) {
        let mut fd = OwnedFd::from(std::mem::replace(&mut self.file, to.try_clone().unwrap()));
        rustix::io::dup2(to, &mut fd).unwrap();
        self.file = fd.into();
    }
}

fn identity(seen: &Statx) -> (u32, u32, u64) {
    (seen.stx_dev_major, seen.stx_dev_minor, seen.stx_ino)
}

/// Looks at a file in a directory without opening it, or at the descriptor itself if there is no name. Not at its times:
/// once somebody asked for them, Linux 6.13 keeps them more exactly, and each write takes longer.
pub(super) fn look(dir: impl AsFd, name: &OsStr) -> io::Result<Statx> {
    let kind_and_owner = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::UID;
    let wanted = kind_and_owner | StatxFlags::NLINK | StatxFlags::INO | StatxFlags::SIZE;
    Ok(statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH, wanted)?)
}
