// SPDX-License-Identifier: BSD-2-Clause
//! poll(2) for a descriptor that a TCTI lends.

/// Waits until there is something to read, or so many milliseconds.
pub(crate) fn wait_for_input(fd: i32, millis: u16) {
    let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
    // SAFETY: the kernel writes to an array that is ours; a descriptor that is closed is an answer.
    unsafe { libc::poll(fds.as_mut_ptr(), 1, millis.into()) };
}
