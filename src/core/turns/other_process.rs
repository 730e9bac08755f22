// SPDX-License-Identifier: BSD-2-Clause
//! Simulates another process that shares the connection: [`OtherProcess`]. For tests.

use super::locks::record;
use super::*;
use crate::kept::Kept;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc::F_WRLCK;
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, OwnedFd};

/// The ID of that process.
const OTHER_ID: u32 = 1000;

/// A simulated process with the same page and file as this one, as after a fork.
pub struct OtherProcess {
    page: SharedPage,
    file: OwnedFd,
}

/// A turn of the other process, which ends when this is dropped. The drop also releases all record locks of this process on
/// the file.
pub struct OtherTurn<'a> {
    other_process: &'a OtherProcess,
    _lock: OwnedFd,
    outcome: u32,
}

#[expect(clippy::unwrap_used, reason = "for tests")]
impl Turns {
    /// Returns a simulated process that shares this connection; `None` if it is not shared.
    pub(crate) fn other_process(&self) -> Option<OtherProcess> {
        let Turns::Shared(shared) = self else { return None };
        Some(OtherProcess { page: shared.page.map_again(), file: shared.locks.file.try_clone().unwrap() })
    }

    /// Sets how long to wait for a turn.
    pub(crate) fn set_turn_timeout(&mut self, timeout: Duration) {
        if let Turns::Shared(shared) = self {
            shared.timeout = timeout;
        }
    }
}

#[expect(clippy::unwrap_used, reason = "for tests")]
impl OtherProcess {
    /// Begins a turn of that process. An open file description lock conflicts with the record locks of this process as a
    /// record lock of another process does (fcntl(2), "Open file description locks").
    pub fn begin(&self) -> OtherTurn<'_> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let file = open(path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        fcntl(&file, FcntlArg::F_OFD_SETLK(&record(F_WRLCK, Lock::Turn))).unwrap();
        self.page.shared.store(1, SeqCst);
        self.page.exchange.store(exchange::LOCKED, SeqCst);
        self.page.last_id.store(OTHER_ID, SeqCst);
        OtherTurn { other_process: self, _lock: file, outcome: exchange::COMPLETE }
    }

    /// Returns the turns of that process before its first one.
    pub(crate) fn turns(&self) -> Turns {
        let locks = Locks { file: Kept::new(self.file.try_clone().unwrap()).unwrap() };
        Turns::Shared(Shared { page: self.page.map_again(), locks, id: 0, turn: Turn::None, timeout: TURN_TIMEOUT })
    }
}

impl OtherTurn<'_> {
    /// Simulates the death of the process during its turn.
    pub fn die(mut self) {
        self.outcome = exchange::LOCKED;
    }
}

impl Drop for OtherTurn<'_> {
    fn drop(&mut self) {
        self.other_process.page.exchange.store(self.outcome, SeqCst);
    }
}
