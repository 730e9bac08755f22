// SPDX-License-Identifier: BSD-2-Clause
//! Socket calls that no crate wraps.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Resets a TCP connection and leaves its socket ready for the next `connect(2)`. That page says that a socket "may dissolve the
/// association by connecting to an address with sa_family AF_UNSPEC".
pub(crate) fn disconnect(fd: BorrowedFd<'_>) -> io::Result<()> {
    let unspecified = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let size = libc::socklen_t::try_from(size_of_val(&unspecified)).unwrap_or_default();
    // SAFETY: the kernel reads `size` bytes of `unspecified`, which outlives the call.
    let result = unsafe { libc::connect(fd.as_raw_fd(), &unspecified, size) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets `TCP_QUICKACK` (tcp(7)).
pub(crate) fn set_quickack(fd: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    let value: *const libc::c_int = &on;
    // SAFETY: the kernel reads `size` bytes of `on`, which outlives the call.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_QUICKACK, value.cast(), size) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
