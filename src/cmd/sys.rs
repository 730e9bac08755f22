// SPDX-License-Identifier: BSD-2-Clause
//! The operations of fcntl(2) that neither nix nor rustix wraps.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use nix::libc::{self, c_int};
use rustix::process::Pid;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Duplicates `fd` without close-on-exec, as the lowest free file descriptor that is at least `lowest`.
pub(crate) fn inheritable(fd: &OwnedFd, lowest: c_int) -> io::Result<OwnedFd> {
    // SAFETY: `fd` is open while it is borrowed, and F_DUPFD takes an int.
    let copy = checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, lowest) })?;
    // SAFETY: the kernel has just returned this file descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Sets the process to which the kernel sends `signal` on I/O events of `fd`.
pub(crate) fn set_owner(fd: &OwnedFd, process: Pid, signal: c_int) -> io::Result<()> {
    // SAFETY: `fd` is open while it is borrowed, and F_SETOWN takes an int.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETOWN, process.as_raw_nonzero().get()) })?;
    // SAFETY: `fd` is open while it is borrowed, and F_SETSIG takes an int.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), F_SETSIG, signal) }).map(drop)
}

/// From `asm-generic/fcntl.h`, the same on every architecture; the crate libc lacks it.
const F_SETSIG: c_int = 10;

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
