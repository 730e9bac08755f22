// SPDX-License-Identifier: BSD-2-Clause
//! A file descriptor that stays open between the calls of a program, [`OpenFile`]. The program may close it, as daemons
//! close every file descriptor, and the number may then belong to another file: so [`OpenFile::status`] comes before each
//! use.
#![forbid(unsafe_code)]

use rustix::fs::{AtFlags, Statx, StatxFlags, statx};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use tcti_core::io::above_stdio;

/// An open file or directory.
pub(super) struct OpenFile {
    pub(super) file: File,
    identity: (u32, u32, u64),
}

impl OpenFile {
    /// Takes a file descriptor; also returns its status.
    pub(super) fn new(fd: OwnedFd) -> io::Result<(OpenFile, Statx)> {
        let file = File::from(above_stdio(fd)?);
        let status = status(&file, OsStr::new(""))?;
        Ok((OpenFile { file, identity: identity(&status) }, status))
    }

    /// Returns whether `status` is that of the same file.
    pub(super) fn is(&self, status: &Statx) -> bool {
        identity(status) == self.identity
    }

    /// Returns the current status; `None` if the file descriptor is closed or belongs to another file.
    pub(super) fn status(&self) -> Option<Statx> {
        status(&self.file, OsStr::new("")).ok().filter(|status| self.is(status))
    }

    /// Closes the file descriptor, unless it belongs to another file.
    pub(super) fn close(self) {
        if self.status().is_none() {
            let _ = self.file.into_raw_fd();
        }
    }

    /// Makes the file descriptor one of `other`, as when a program closes it and opens another file.
    #[cfg(test)]
    pub(super) fn reuse_for(&mut self, other: &File) {
        let mut fd = OwnedFd::from(std::mem::replace(&mut self.file, other.try_clone().unwrap()));
        rustix::io::dup2(other, &mut fd).unwrap();
        self.file = fd.into();
    }
}

fn identity(status: &Statx) -> (u32, u32, u64) {
    (status.stx_dev_major, status.stx_dev_minor, status.stx_ino)
}

/// Returns the status of a file in a directory without following links, or of the file descriptor itself if `name` is
/// empty. Does not ask for times: once they were asked for, Linux 6.13 keeps them with a finer resolution, which slows each
/// write down.
pub(super) fn status(dir: impl AsFd, name: &OsStr) -> io::Result<Statx> {
    let kind_and_owner = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::UID;
    let wanted = kind_and_owner | StatxFlags::NLINK | StatxFlags::INO | StatxFlags::SIZE;
    Ok(statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH, wanted)?)
}
