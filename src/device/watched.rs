// SPDX-License-Identifier: BSD-2-Clause
//! An open device, and a wait for it that keeps its time.
//!
//! While the driver works on a command it holds the lock that its poll, its read and its write take (Linux
//! `tpm_dev_async_work`, `tpm_common_poll`): `poll(2)` on the device itself returns when the response is there, whatever
//! its time-out. An epoll instance that knew the device before the command asks the driver when the driver has woken it,
//! and not before; then the lock is free.
//!
//! One report is one response: who takes it reads that. Whoever goes on with the device after an exchange that broke off,
//! in this process or another, finds in the epoll instance what is left of it.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::stat::Mode;
use nix::unistd::{read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use tcti_core::io::{above_stdio, wait_for};
use tcti_core::{Deadline, Result, ReturnCode, fail};
use tcti_diagnosis as diagnosis;

/// Room for any response of a driver, in bytes (Linux `TPM_BUFSIZE`).
const LARGEST: usize = 4096;
/// How often to look for more of what is left. A driver has one response; another device may never come to an end.
const ROUNDS: u32 = 100;

/// A device that is open.
pub(crate) struct WatchedDevice {
    fd: OwnedFd,
    /// Absent where the driver has no poll: there is no waiting then, and `read` blocks.
    watch: Option<Epoll>,
    /// Whether the last exchange ended in an error that may mean the end of the connection.
    is_doubtful: bool,
}

impl WatchedDevice {
    pub(crate) fn open(path: &Path) -> core::result::Result<WatchedDevice, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let fd = above(open(path, flags, Mode::empty())?)?;
        let mut line = WatchedDevice { fd, watch: None, is_doubtful: false };
        let watch = Epoll(above(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?.0)?);
        // The driver drops a response that nobody reads for 120 seconds, and can be written to from then on: without
        // EPOLLOUT one would wait for it without an end. One report per wake-up (EPOLLET), so that what was reported
        // before is not asked again, which would take the lock.
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        match watch.add(&line.fd, EpollEvent::new(events, 0)) {
            Ok(()) => line.watch = Some(watch),
            Err(Errno::EPERM) => {} // as before Linux 5.0
            Err(error) => return Err(error),
        }
        // A response before the first command: the kernel speaks for a driver that has no poll (DEFAULT_POLLMASK), as
        // one in user space may have none (CUSE). It wakes nobody.
        if line.take_report() {
            line.watch = None;
        }
        if !line.is_watched() {
            fcntl(&line.fd, FcntlArg::F_SETFL(OFlag::empty()))?;
        }
        Ok(line)
    }

    /// Waits for a report of the driver and takes it; `false` when the deadline came first.
    pub(crate) fn wait(&self, deadline: &Deadline) -> Result<bool> {
        let Some(watch) = &self.watch else { return wait_for(self.fd.as_fd(), PollFlags::POLLIN, deadline) };
        loop {
            match watch.wait(&mut [EpollEvent::empty()], deadline.poll_timeout()) {
                Ok(0) if deadline.has_passed() => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(fail!(ReturnCode::IO_ERROR, "epoll_wait: {}", error.desc())),
            }
        }
    }

    /// Takes a report that is there; `true` when there is something to read at this moment.
    fn take_report(&self) -> bool {
        let mut events = [EpollEvent::empty()];
        let count = self.watch.as_ref().and_then(|watch| watch.wait(&mut events, EpollTimeout::ZERO).ok());
        count.is_some_and(|count| count > 0) && events.iter().any(|event| event.events().contains(EpollFlags::EPOLLIN))
    }

    pub(crate) fn read(&self, room: &mut [u8]) -> nix::Result<usize> {
        again(|| read(&self.fd, room))
    }

    pub(crate) fn write(&self, command: &[u8]) -> nix::Result<usize> {
        again(|| write(&self.fd, command))
    }

    /// Takes a report that is left of an earlier exchange, and drops the response that it reported: whoever polls is not told
    /// of that again.
    pub(crate) fn settle(&self) {
        for _ in 0..ROUNDS {
            if !self.take_report() {
                break;
            }
            self.drop_response();
        }
    }

    /// Drops the response of an exchange that broke off when its process had taken the report, and was killed then.
    pub(crate) fn drop_unreported(&self) {
        for _ in 0..ROUNDS {
            if !self.is_watched() || !self.drop_response() {
                break;
            }
        }
    }

    /// Reads what is there, and tells whether there was anything. Without a poll that waits for the response under way.
    pub(crate) fn drop_response(&self) -> bool {
        let mut rest = [0; LARGEST];
        self.read(&mut rest).is_ok_and(|count| count > 0)
    }

    /// Whether a command is under way, or its response waits. A byte is no command: the driver says EINVAL when it could
    /// take one, and EBUSY when not (Linux `tpm_common_write`).
    pub(crate) fn is_busy(&self) -> bool {
        self.is_watched() && self.write(&[0]) == Err(Errno::EBUSY)
    }

    /// Whether the driver says when it has something. If not, `read` waits for it.
    pub(crate) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// A response came.
    pub(crate) fn works(&mut self) {
        self.is_doubtful = false;
    }

    /// Whether this error is the end of the connection, and of all that was loaded through it.
    pub(crate) fn ends_with(&mut self, error: Errno) -> bool {
        match error {
            Errno::ENODEV | Errno::EPIPE => true,
            // EIO: the transfer to the TPM failed, or the TPM was removed. EFAULT: the resource manager could not load
            // what it keeps for this connection. Once it refused a command while there was a session, it never can
            // again: it ends the sessions then, and Linux 6.1 still wants to load them (`tpm2_flush_space`).
            Errno::EIO | Errno::EFAULT => {
                core::mem::replace(&mut self.is_doubtful, true) || !diagnosis::is_registered(self.fd.as_fd())
            }
            _ => false,
        }
    }

    /// What becomes readable with a report.
    pub(crate) fn watched(&self) -> BorrowedFd<'_> {
        self.watch.as_ref().map_or(self.fd.as_fd(), |watch| watch.0.as_fd())
    }
}

impl AsFd for WatchedDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes a system call until no signal interrupts it.
fn again(mut call: impl FnMut() -> nix::Result<usize>) -> nix::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

fn above(fd: OwnedFd) -> core::result::Result<OwnedFd, Errno> {
    above_stdio(fd).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
}
