// SPDX-License-Identifier: BSD-2-Clause
//! An open device, and a wait for it that keeps its time.
//!
//! While the driver works on a command it holds the lock that its poll and its read take (Linux `tpm_dev_async_work`,
//! `tpm_common_poll`): `poll(2)` on the device itself returns when the response is there, whatever its time-out. An
//! epoll instance that knew the device before the command asks the driver when the driver has woken it, and not before;
//! then the lock is free.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use tcti_core::io::{above_stdio, wait_for};
use tcti_core::{Deadline, Result};

/// A device that is open.
pub(crate) struct Line {
    fd: OwnedFd,
    /// Absent where the driver has no poll, as before Linux 5.0: there is no waiting then, and `read` blocks.
    watch: Option<Epoll>,
}

impl Line {
    pub(crate) fn open(path: &Path) -> core::result::Result<Line, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let fd = above(open(path, flags, Mode::empty())?)?;
        let watch = Epoll(above(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?.0)?);
        // The driver drops a response that nobody reads for 120 seconds, and can be written to from then on: without
        // EPOLLOUT one would wait for it without an end. One report per wake-up (EPOLLET), so that what was reported
        // before is not asked again, which would take the lock.
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        let line = match watch.add(&fd, EpollEvent::new(events, 0)) {
            Ok(()) => Line { fd, watch: Some(watch) },
            Err(Errno::EPERM) => Line { fd, watch: None },
            Err(error) => return Err(error),
        };
        line.reported(); // that it can be written to
        Ok(line)
    }

    /// Waits until the driver has reported something since the last wait; `false` when the deadline came first.
    pub(crate) fn wait(&self, deadline: &Deadline) -> Result<bool> {
        let is_ready = wait_for(self.watched(), PollFlags::POLLIN, deadline)?;
        if is_ready {
            self.reported();
        }
        Ok(is_ready)
    }

    /// Takes note of a report. If that fails it stays, and the next wait is none.
    fn reported(&self) {
        if let Some(watch) = &self.watch {
            let _ = watch.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO);
        }
    }

    /// What becomes readable with a report.
    pub(crate) fn watched(&self) -> BorrowedFd<'_> {
        self.watch.as_ref().map_or(self.fd.as_fd(), |watch| watch.0.as_fd())
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn above(fd: OwnedFd) -> core::result::Result<OwnedFd, Errno> {
    above_stdio(fd).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
}
