// SPDX-License-Identifier: BSD-2-Clause
//! What there is to poll while nothing has to be waited for: [`Ready::handle`].

use crate::io::above_stdio;
use crate::transport::PollHandle;
use crate::{Result, ReturnCode};
use nix::libc::POLLOUT;
use nix::sys::eventfd::{EfdFlags, EventFd};
use once_cell::unsync::OnceCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// A descriptor that poll always finds ready, made when it is first asked for.
pub(crate) struct Ready(OnceCell<OwnedFd>);

impl Ready {
    pub(crate) const fn new() -> Ready {
        Ready(OnceCell::new())
    }

    /// Poll returns at once. `IO_ERROR` when the process has no descriptor left.
    pub(crate) fn handle(&self) -> Result<PollHandle> {
        let fd = self.0.get_or_try_init(eventfd);
        let fd = fd.map_err(|error| crate::fail!(ReturnCode::IO_ERROR, "eventfd: {error}"))?;
        Ok(PollHandle { fd: fd.as_raw_fd(), events: POLLOUT, revents: 0 })
    }
}

/// One that nobody reads or writes can be written to, and this one, which is not zero, can be read from (eventfd(2)): a
/// TCTI around this one asks for that.
fn eventfd() -> io::Result<OwnedFd> {
    above_stdio(EventFd::from_value_and_flags(1, EfdFlags::EFD_CLOEXEC)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    #[test]
    fn poll_returns_at_once_and_makes_one_descriptor() {
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
