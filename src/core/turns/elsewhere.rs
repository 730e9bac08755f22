// SPDX-License-Identifier: BSD-2-Clause
//! Another process that shares the connection, as far as this one sees it. For tests.

use super::locks::{identity, record};
use super::*;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc::F_WRLCK;
use nix::sys::stat::Mode;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

/// The number of that process.
const ANOTHER: u32 = 1000;

/// One that was forked, too.
pub struct Elsewhere {
    page: SharedPage,
    file: File,
}

/// Its turn, which ends when it is dropped. What this process has locked ends with it, too.
pub struct ItsTurn<'a> {
    elsewhere: &'a Elsewhere,
    _lock: OwnedFd,
    left: u32,
}

#[expect(clippy::unwrap_used, reason = "for tests")]
impl Turns {
    /// `None` where nothing is shared.
    pub(crate) fn elsewhere(&self) -> Option<Elsewhere> {
        let Turns::Shared(shared) = self else { return None };
        Some(Elsewhere { page: shared.page.again(), file: shared.locks.file.try_clone().unwrap() })
    }

    pub(crate) fn set_patience(&mut self, patience: Duration) {
        if let Turns::Shared(shared) = self {
            shared.patience = patience;
        }
    }
}

#[expect(clippy::unwrap_used, reason = "for tests")]
impl Elsewhere {
    /// Begins a turn there. A lock of another description of the file is in the way of this process's as one of another
    /// process is (fcntl(2), "Open file description locks").
    pub fn begin(&self) -> ItsTurn<'_> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let file = open(path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        fcntl(&file, FcntlArg::F_OFD_SETLK(&record(F_WRLCK, Lock::Turn))).unwrap();
        self.page.shared.store(1, SeqCst);
        self.page.exchange.store(exchange::LOCKED, SeqCst);
        self.page.last.store(ANOTHER, SeqCst);
        ItsTurn { elsewhere: self, _lock: file, left: exchange::WHOLE }
    }

    /// The turns of that process, before its first one.
    pub(crate) fn turns(&self) -> Turns {
        let (page, file) = (self.page.again(), self.file.try_clone().unwrap());
        let identity = identity(&file).unwrap();
        let locks = Locks { file, identity };
        Turns::Shared(Shared { page, locks, number: 0, turn: Turn::None, patience: PATIENCE })
    }
}

impl ItsTurn<'_> {
    /// The process dies in it.
    pub fn die(mut self) {
        self.left = exchange::LOCKED;
    }
}

impl Drop for ItsTurn<'_> {
    fn drop(&mut self) {
        self.elsewhere.page.exchange.store(self.left, SeqCst);
    }
}
