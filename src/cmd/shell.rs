// SPDX-License-Identifier: BSD-2-Clause
//! The shell that runs a command, [`Shell`], which is waited for in the end, whoever drops it and however slowly it exits.
#![forbid(unsafe_code)]

use super::below::descendants;
use nix::poll::{PollFlags, PollTimeout, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, pidfd_send_signal, waitid,
};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::time::Duration;
use tcti_core::io::wait_for;
use tcti_core::kept::Kept;
use tcti_core::{Deadline, Generation};

/// Shells that were still running when they were dropped, of any context.
static LEFT: Mutex<Vec<Shell>> = Mutex::new(Vec::new());

/// Waits for shells that have exited since they were dropped. A child is a zombie until its parent has waited for it. Such a
/// shell is waiting for a device or a file system that does not respond, is being traced, or belongs to a command that a
/// forked process continues to use.
pub(crate) fn reap() {
    // Does not block: in a forked process, the thread that held the lock does not exist.
    if let Ok(mut left) = LEFT.try_lock() {
        left.retain_mut(|shell| shell.is_running_child());
    }
}

/// The shell of a command.
pub(crate) struct Shell {
    id: Pid,
    /// The process whose child it is.
    parent: Generation,
    /// Becomes readable when the shell has exited. Absent before Linux 5.3, and where the system denies it.
    pidfd: Option<Kept>,
    /// Set once the shell was waited for; its ID may belong to another process then.
    status: Option<ExitStatus>,
}

impl Shell {
    pub(crate) fn new(child: &Child) -> io::Result<Shell> {
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = pidfd_open(id, PidfdFlags::empty()).ok().and_then(|pidfd| Kept::new(pidfd).ok());
        Ok(Shell { id, parent: Generation::current(), pidfd, status: None })
    }

    pub(crate) fn id(&self) -> Pid {
        self.id
    }

    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().and_then(Kept::get)
    }

    /// Waits for the shell to exit. Returns `None` if it is still running after `timeout`, and `Some(None)` if it has exited
    /// with a status that is unknown here: to a process that did not start it, after the host program has waited for it, and
    /// while another process traces it.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Option<Option<ExitStatus>> {
        let deadline = Deadline::within(timeout);
        loop {
            match (self.try_wait(), self.pidfd()) {
                (Ok(Some(status)), _) => return Some(Some(status)),
                (Ok(None) | Err(_), Some(pidfd)) => {
                    let has_exited = wait_for(pidfd, PollFlags::POLLIN, &deadline).ok()?;
                    return has_exited.then(|| self.try_wait().ok().flatten());
                }
                (Err(_), None) => return Some(None),
                (Ok(None), None) if deadline.has_passed() => return None,
                // Polls once per millisecond, since wait(2) has no time-out.
                (Ok(None), None) => drop(poll(&mut [], PollTimeout::from(1_u8))),
            }
        }
    }

    /// Sends a signal to the shell. An error means that it has exited.
    pub(crate) fn signal(&mut self, signal: Signal) {
        let is_running_child = self.is_running_child();
        let _ = match self.pidfd() {
            Some(pidfd) => pidfd_send_signal(pidfd, signal),
            None if is_running_child => kill_process(self.id, signal),
            None => Ok(()),
        };
    }

    /// Returns file descriptors of the processes below the shell while it is running.
    pub(crate) fn descendants(&self) -> Vec<OwnedFd> {
        let Some(pidfd) = self.pidfd() else { return Vec::new() };
        let found = descendants(self.id);
        // Another process may have its ID if it has exited.
        let has_exited = wait_for(pidfd, PollFlags::POLLIN, &Deadline::Now).unwrap_or(true);
        if has_exited { Vec::new() } else { found }
    }

    fn is_running_child(&mut self) -> bool {
        self.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Returns the exit status once the shell has exited. Fails if it is not a child of this process any more.
    fn try_wait(&mut self) -> rustix::io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let by_pidfd = self.pidfd().map(|pidfd| waitid(WaitId::PidFd(pidfd), options));
            let waited = match by_pidfd {
                // Before Linux 5.4.
                None | Some(Err(rustix::io::Errno::INVAL)) if self.parent == Generation::current() => {
                    waitid(WaitId::Pid(self.id), options)
                }
                waited => waited.unwrap_or(Err(rustix::io::Errno::CHILD)),
            }?;
            let raw = |status: rustix::process::WaitIdStatus| match (status.exit_status(), status.terminating_signal())
            {
                (Some(code), _) => code << 8,
                (None, signal) => signal.unwrap_or_default(),
            };
            self.status = waited.map(|status| ExitStatus::from_raw(raw(status)));
        }
        Ok(self.status)
    }
}

/// Remembers a shell that is still running for [`reap`].
impl Drop for Shell {
    fn drop(&mut self) {
        if self.is_running_child() {
            let (id, parent) = (self.id, self.parent);
            let Ok(mut left) = LEFT.try_lock() else { return };
            if left.try_reserve(1).is_ok() {
                left.push(Shell { id, parent, pidfd: self.pidfd.take(), status: None });
            }
        }
    }
}
