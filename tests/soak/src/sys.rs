// SPDX-License-Identifier: BSD-2-Clause
//! Signals that interrupt system calls, poll(2) on borrowed descriptors, fork(2), and the size of the heap.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use core::ffi::c_int;
use nix::errno::Errno;
use nix::libc::{_exit, mallinfo2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, Pid, fork as nix_fork};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tcti_core::PollHandle;

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn interrupt(_signal: c_int) {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
}

/// Returns how many SIGUSR1 were handled.
pub(crate) fn interrupts() -> usize {
    INTERRUPTS.load(Ordering::Relaxed)
}

/// Lets SIGUSR1 interrupt blocking system calls with EINTR, and ignores SIGXFSZ, so that a write beyond the file size
/// limit returns an error.
pub(crate) fn prepare_signals() {
    // No SA_RESTART.
    let interrupt = SigAction::new(SigHandler::Handler(interrupt), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only adds to an atomic, which is async-signal-safe.
    unsafe { sigaction(Signal::SIGUSR1, &interrupt) }.unwrap();
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring a signal runs no handler.
    unsafe { sigaction(Signal::SIGXFSZ, &ignore) }.unwrap();
}

/// Waits for the events of a descriptor that a context returned, which is not negative. Returns those that came in
/// time.
pub(crate) fn poll_handle(handle: &PollHandle, within: Duration) -> PollFlags {
    // SAFETY: the context keeps the descriptor open until its next call, which comes after this.
    let fd = unsafe { BorrowedFd::borrow_raw(handle.fd) };
    let mut fds = [PollFd::new(fd, PollFlags::from_bits_truncate(handle.events))];
    let since = Instant::now();
    while let Err(error) = poll(&mut fds, PollTimeout::try_from(within.saturating_sub(since.elapsed())).unwrap()) {
        assert_eq!(error, Errno::EINTR, "poll");
    }
    fds[0].revents().unwrap_or(PollFlags::empty())
}

/// Returns the number of bytes that this program and its libraries have allocated.
pub(crate) fn heap() -> usize {
    // SAFETY: mallinfo2 reads the allocator's counters under the allocator's locks.
    let info = unsafe { mallinfo2() };
    info.uordblks + info.hblkhd
}

/// The process after a fork.
pub(crate) enum Forked {
    Parent(Pid),
    Child,
}

/// Forks this process.
pub(crate) fn fork() -> Forked {
    // SAFETY: the child keeps to the rules in the documentation of `driver/forks.rs`.
    match unsafe { nix_fork() }.unwrap() {
        ForkResult::Parent { child } => Forked::Parent(child),
        ForkResult::Child => Forked::Child,
    }
}

/// Ends this process without exit handlers or destructors.
pub(crate) fn leave(status: c_int) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { _exit(status) }
}
