// SPDX-License-Identifier: BSD-2-Clause
//! Signals that interrupt system calls, descriptors of others, forks, and the heap.
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

/// How often a thread has met SIGUSR1.
pub(crate) fn interrupts() -> usize {
    INTERRUPTS.load(Ordering::Relaxed)
}

/// SIGUSR1 ends whatever system call the thread waits in, with EINTR. SIGXFSZ does nothing: a file that is too large is
/// an error of its write.
pub(crate) fn prepare_signals() {
    // No SA_RESTART.
    let interrupt = SigAction::new(SigHandler::Handler(interrupt), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler adds to an atomic, which is allowed in every place that a signal comes.
    unsafe { sigaction(Signal::SIGUSR1, &interrupt) }.unwrap();
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler of ours is involved.
    unsafe { sigaction(Signal::SIGXFSZ, &ignore) }.unwrap();
}

/// Waits for these events of a descriptor that a context gave, which is not negative; what came of them in time.
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

/// Bytes that are allocated, by this program and by the libraries that it has loaded.
pub(crate) fn heap() -> usize {
    // SAFETY: it looks at the allocator's own counters, under the allocator's own locks.
    let info = unsafe { mallinfo2() };
    info.uordblks + info.hblkhd
}

/// Where one goes on after a fork.
pub(crate) enum Forked {
    Parent(Pid),
    Child,
}

/// Forks this process.
pub(crate) fn fork() -> Forked {
    // SAFETY: `driver/forks.rs` says why the child may go on as it does.
    match unsafe { nix_fork() }.unwrap() {
        ForkResult::Parent { child } => Forked::Parent(child),
        ForkResult::Child => Forked::Child,
    }
}

/// Ends this process, and nothing else that it has.
pub(crate) fn leave(status: c_int) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { _exit(status) }
}
