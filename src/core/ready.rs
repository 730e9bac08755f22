// SPDX-License-Identifier: BSD-2-Clause
//! A file descriptor that is always ready, for callers that poll while no response is due: [`Ready::handle`].

use crate::io::above_stdio;
use crate::transport::PollHandle;
use crate::{Result, ReturnCode};
use nix::libc::POLLOUT;
use nix::sys::eventfd::{EfdFlags, EventFd};
use once_cell::unsync::OnceCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// A file descriptor that is always ready for `poll(2)`, opened on first use.
pub(crate) struct Ready(OnceCell<OwnedFd>);

impl Ready {
    pub(crate) const fn new() -> Ready {
        Ready(OnceCell::new())
    }

    /// Returns a handle for which `poll(2)` returns at once. Fails with `IO_ERROR` if the process cannot open another file
    /// descriptor.
    pub(crate) fn handle(&self) -> Result<PollHandle> {
        let fd = self.0.get_or_try_init(eventfd);
        let fd = fd.map_err(|error| crate::fail!(ReturnCode::IO_ERROR, "eventfd: {error}"))?;
        Ok(PollHandle { fd: fd.as_raw_fd(), events: POLLOUT, revents: 0 })
    }
}

/// Creates an eventfd that stays readable and writable: its counter is 1, and nobody reads or writes it (eventfd(2)). A TCTI
/// that wraps this one polls for POLLIN.
fn eventfd() -> io::Result<OwnedFd> {
    above_stdio(EventFd::from_value_and_flags(1, EfdFlags::EFD_CLOEXEC)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    #[test]
    fn poll_returns_at_once_and_one_descriptor_is_opened() {
        let ready = Ready::new();
        let handle = ready.handle().unwrap();
        assert_eq!(ready.handle(), Ok(handle));
        assert!(handle.fd > 2);
        for events in [PollFlags::POLLIN, PollFlags::POLLOUT] {
            let mut polled = [PollFd::new(ready.0.get().unwrap().as_fd(), events)];
            assert_eq!(poll(&mut polled, PollTimeout::ZERO), Ok(1));
            assert_eq!(polled[0].revents(), Some(events));
        }
    }
}
