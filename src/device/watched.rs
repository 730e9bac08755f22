// SPDX-License-Identifier: BSD-2-Clause
//! An open device, [`WatchedDevice`], whose [`wait`](WatchedDevice::wait) respects its deadline.
//!
//! While the driver works on a command, it holds the lock that its poll, read and write take (Linux `tpm_dev_async_work`,
//! `tpm_common_poll`): `poll(2)` on the device itself returns only when the response has arrived, whatever its time-out. An
//! epoll instance to which the device was added before the command does not call the driver's poll until the driver has
//! woken it, when the lock is free.
//!
//! Each response is reported by one event; whoever takes the event reads the response. After an interrupted exchange, the
//! next process to use the device finds its event, if any, in the epoll instance.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::stat::Mode;
use nix::unistd::{read, write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use tcti_core::io::{above_stdio, wait_for};
use tcti_core::kept::Kept;
use tcti_core::{Deadline, Result, ReturnCode, fail};
use tcti_diagnosis as diagnosis;
use zeroize::Zeroizing;

/// The largest response of a driver, in bytes (Linux `TPM_BUFSIZE`).
const MAX_RESPONSE: usize = 4096;
/// How many stale responses are dropped. A TPM driver has at most one; another device may never run out.
const MAX_STALE: u32 = 100;

/// An open device.
pub(crate) struct WatchedDevice {
    fd: Kept,
    /// Absent where the driver does not implement poll: then `read` blocks.
    watch: Option<Kept<Watch>>,
    /// Whether the last exchange ended in an error that may have ended the connection.
    is_doubtful: bool,
}

/// The epoll instance.
struct Watch(Epoll);

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

impl WatchedDevice {
    pub(crate) fn open(path: &Path) -> core::result::Result<WatchedDevice, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let fd = Kept::new(open(path, flags, Mode::empty())?).map_err(errno)?;
        let mut device = WatchedDevice { fd, watch: None, is_doubtful: false };
        let epoll = above_stdio(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?.0).map_err(errno)?;
        let watch = Kept::owner(Watch(Epoll(epoll))).map_err(errno)?;
        // The driver drops a response that nobody reads for 120 seconds, and then reports that it can be written to:
        // without EPOLLOUT, waiting for the response would never end. EPOLLET reports each wake-up once; without it epoll
        // would call the driver's poll again, which takes the lock.
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        match watch.0.add(&device.fd, EpollEvent::new(events, 0)) {
            Ok(()) => device.watch = Some(watch),
            Err(Errno::EPERM) => {} // no poll, as before Linux 5.0
            Err(error) => return Err(error),
        }
        // Readable before the first command: the driver does not implement poll, which a driver in user space (CUSE) need
        // not, and the kernel returns DEFAULT_POLLMASK for it. No event would follow.
        if device.take_event()? {
            device.watch = None;
        }
        if !device.is_watched() {
            fcntl(&device.fd, FcntlArg::F_SETFL(OFlag::empty()))?;
        }
        Ok(device)
    }

    /// Waits for an event of the driver and takes it. Returns `false` if the deadline has passed.
    pub(crate) fn wait(&self, deadline: &Deadline) -> Result<bool> {
        let Some(watch) = &self.watch else { return wait_for(self.fd.as_fd(), PollFlags::POLLIN, deadline) };
        loop {
            match watch.0.wait(&mut [EpollEvent::empty()], deadline.poll_timeout()) {
                Ok(0) if deadline.has_passed() => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(fail!(ReturnCode::IO_ERROR, "epoll_wait: {}", error.desc())),
            }
        }
    }

    /// Takes a pending event without waiting. Returns whether there is something to read.
    fn take_event(&self) -> nix::Result<bool> {
        let Some(watch) = &self.watch else { return Ok(false) };
        let mut events = [EpollEvent::empty()];
        let count = retry(|| watch.0.wait(&mut events, EpollTimeout::ZERO))?;
        Ok(count > 0 && events.iter().any(|event| event.events().contains(EpollFlags::EPOLLIN)))
    }

    pub(crate) fn read(&self, room: &mut [u8]) -> nix::Result<usize> {
        retry(|| read(&self.fd, room))
    }

    pub(crate) fn write(&self, command: &[u8]) -> nix::Result<usize> {
        retry(|| write(&self.fd, command))
    }

    /// Takes events that an earlier exchange has left, and drops their responses, so that a caller who polls is not woken
    /// by them. Fails if the program has closed the epoll instance.
    pub(crate) fn drop_reported(&self) -> nix::Result<()> {
        for _ in 0..MAX_STALE {
            if !self.take_event()? {
                break;
            }
            self.drop_response();
        }
        Ok(())
    }

    /// Drops a response whose event was taken by a process that was killed before it read the response.
    pub(crate) fn drop_unreported(&self) {
        for _ in 0..MAX_STALE {
            if !self.is_watched() || !self.drop_response() {
                break;
            }
        }
    }

    /// Reads and drops a response. Returns whether there was one. Blocks on a driver without poll.
    pub(crate) fn drop_response(&self) -> bool {
        let mut rest = Zeroizing::new([0; MAX_RESPONSE]);
        self.read(&mut *rest).is_ok_and(|count| count > 0)
    }

    /// Returns whether a command is in progress or a response is waiting. A single byte is not a command: the driver
    /// returns EINVAL if it is idle, else EBUSY (Linux `tpm_common_write`).
    pub(crate) fn is_busy(&self) -> bool {
        self.is_watched() && self.write(&[0]) == Err(Errno::EBUSY)
    }

    /// Returns whether the driver implements poll. If not, `read` blocks.
    pub(crate) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// Notes that an exchange has succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.is_doubtful = false;
    }

    /// Returns whether this error ends the connection, and loses everything that was loaded through it.
    pub(crate) fn is_fatal(&mut self, error: Errno) -> bool {
        match error {
            Errno::ENODEV | Errno::EPIPE => true,
            // EIO: the transfer to the TPM failed, or the TPM was removed. EFAULT: the resource manager could not reload
            // the objects and sessions of this connection. That stays so once it has refused a command while there was a
            // session: it flushes the sessions then, and Linux 6.1 still tries to reload them (`tpm2_flush_space`).
            Errno::EIO | Errno::EFAULT => {
                core::mem::replace(&mut self.is_doubtful, true) || !diagnosis::is_registered(self.fd.as_fd())
            }
            _ => false,
        }
    }

    /// Returns whether the file descriptor is open. The epoll instance was closed with it, if the program closes them all.
    pub(crate) fn is_open(&self) -> bool {
        self.fd.is_open()
    }

    /// Returns the file descriptor that becomes readable with an event.
    pub(crate) fn poll_handle(&self) -> BorrowedFd<'_> {
        self.watch.as_ref().map_or(self.fd.as_fd(), |watch| watch.as_fd())
    }
}

impl AsFd for WatchedDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Repeats a system call that a signal interrupts.
fn retry(mut call: impl FnMut() -> nix::Result<usize>) -> nix::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
