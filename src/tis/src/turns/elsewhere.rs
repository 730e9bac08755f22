// SPDX-License-Identifier: BSD-2-Clause
//! Another process, as far as this one sees it.

use super::*;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, OwnedFd};

/// One that has the file, too.
pub(crate) struct Elsewhere(File);

/// Its turn, until dropped. That also ends what this process has locked: begin it when that is nothing.
pub(crate) struct Turn(#[expect(dead_code, reason = "it holds the lock")] OwnedFd);

impl Turns {
    pub(crate) fn elsewhere(&self) -> Elsewhere {
        Elsewhere(self.file.try_clone().unwrap())
    }
}

impl Elsewhere {
    /// Begins a turn there. A lock of another description of the file is in the way of this process's as one of another
    /// process is (fcntl(2), "Open file description locks").
    pub(crate) fn begin(&self) -> Turn {
        let file = self.reopen();
        fcntl(&file, FcntlArg::F_OFD_SETLK(&record(F_WRLCK, Place::Turn))).unwrap();
        (&self.0).seek(SeekFrom::Current(1)).unwrap();
        Turn(file)
    }

    /// As that process has them.
    pub(crate) fn turns(&self) -> Turns {
        Turns { file: self.0.try_clone().unwrap(), mine: None }
    }

    pub(super) fn reopen(&self) -> OwnedFd {
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        open(path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
    }
}
