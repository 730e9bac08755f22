// SPDX-License-Identifier: BSD-2-Clause
//! Descriptors in somebody else's process: waiting for them, and keeping them off the standard streams.

use crate::deadline::Deadline;
use crate::rc::{Rc, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Waits until `fd` is ready for `events`, has failed or was hung up; `false` when the deadline came first.
pub fn wait_for(fd: BorrowedFd<'_>, events: PollFlags, deadline: &Deadline) -> Result<bool> {
    loop {
        match poll(&mut [PollFd::new(fd, events)], deadline.poll_timeout()) {
            Ok(0) if deadline.has_passed() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(crate::fail!(Rc::IO_ERROR, "poll: {}", error.desc())),
        }
    }
}

/// Moves a new descriptor above the standard streams. In a program that closed one of them the next descriptor takes
/// its number, and what the program then prints would go to the TPM.
pub fn above_stdio(fd: OwnedFd) -> std::io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    fd.try_clone() // std promises a number of 3 or more
}
