// SPDX-License-Identifier: BSD-2-Clause
//! The operations of fcntl(2) that no crate has.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use nix::libc::{self, c_int};
use rustix::process::Pid;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A copy that programs inherit, with a number of at least `lowest`.
pub(crate) fn inheritable(fd: &OwnedFd, lowest: c_int) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open, and this operation takes a number.
    let copy = checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, lowest) })?;
    // SAFETY: the kernel has just made it, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Whom the kernel sends which signal when something happens to this descriptor.
pub(crate) fn send_to(fd: &OwnedFd, process: Pid, signal: c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open, and this operation takes a number.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETOWN, process.as_raw_nonzero().get()) })?;
    // SAFETY: the descriptor is open, and this operation takes a number.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), F_SETSIG, signal) }).map(drop)
}

/// Of asm-generic/fcntl.h, the same on every architecture; the crate libc does not have it.
const F_SETSIG: c_int = 10;

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
