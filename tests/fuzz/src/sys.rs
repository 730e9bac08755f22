// SPDX-License-Identifier: BSD-2-Clause
//! poll(2) for a descriptor that a TCTI lends.

/// Waits until there is something to read, for at most this many milliseconds.
pub(crate) fn wait_for_input(fd: i32, millis: u16) {
    let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
    // SAFETY: the array is ours, with one element; a closed descriptor is only reported.
    unsafe { libc::poll(fds.as_mut_ptr(), 1, millis.into()) };
}
