// SPDX-License-Identifier: BSD-2-Clause
//! The calls in progress on a context, [`Calls`]: Finalize waits until they have ended, because the caller frees the memory next.
//! A call that may not enter fails instead of waiting.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use tcti_core::{Generation, Result, ReturnCode, fail};

/// The calls in progress, in the memory of the context. All zeroes if no call is in progress.
#[derive(Default)]
#[repr(C)]
pub struct Calls {
    /// The number of calls in the bits of [`COUNT`], two flags, and the process that they belong to in the bits above. A child
    /// process has none of the threads whose calls were in progress when it was forked, so the calls of another process do not
    /// count.
    state: AtomicU32,
    /// The thread that entered last; 0 when it has left.
    thread: AtomicUsize,
}

/// The bits of the number of calls.
const COUNT: u32 = 0xff;
/// Finalize was called: no other call may enter.
const ENDING: u32 = 1 << 8;
/// Finalize waits for the calls to end.
const WAITING: u32 = 1 << 9;
/// The bits of the process: all others.
const PROCESS: u32 = !(COUNT | ENDING | WAITING);

impl Calls {
    /// Enters a call unless `most` others are in progress. Otherwise, and during and after Finalize, fails with `BAD_SEQUENCE`.
    pub fn enter(&self, most: u32) -> Result<Inside<'_>> {
        let may_enter = |state: u32| state & ENDING == 0 && state & COUNT < most.min(COUNT);
        match may_enter(self.update(|state| if may_enter(state) { state + 1 } else { state })) {
            true => Ok(self.inside(false)),
            false => Err(fail!(ReturnCode::BAD_SEQUENCE, "another call, or Finalize, is using this context")),
        }
    }

    /// Enters Finalize, after the calls of other threads have ended. Fails with `BAD_SEQUENCE` in a function that a call of the
    /// same thread has called, or in a signal handler that has interrupted one; that call then finds [`Inside::is_last`].
    pub fn enter_last(&self) -> Result<Inside<'_>> {
        loop {
            let enter = |state: u32| match state & COUNT {
                0 => state | ENDING | 1,
                _ => state | ENDING | WAITING,
            };
            let state = self.update(enter);
            if state & COUNT == 0 {
                return Ok(self.inside(true));
            }
            if self.thread.load(Ordering::Relaxed) == this_thread() {
                return Err(fail!(
                    ReturnCode::BAD_SEQUENCE,
                    "Finalize inside a call of the same thread waits for its end"
                ));
            }
            wait(&self.state, enter(state));
        }
    }

    /// Replaces the state by `change` of it. Returns the state before, without calls of another process.
    fn update(&self, change: impl Fn(u32) -> u32) -> u32 {
        let process = process();
        let mut seen = self.state.load(Ordering::Relaxed);
        loop {
            let state = if seen & PROCESS == process { seen } else { process };
            match self.state.compare_exchange_weak(seen, change(state), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return state,
                Err(now) => seen = now,
            }
        }
    }

    fn inside(&self, is_finalize: bool) -> Inside<'_> {
        self.thread.store(this_thread(), Ordering::Relaxed);
        Inside { calls: self, process: process(), is_finalize }
    }
}

/// A call in progress, until this is dropped. The drop is the last access to the memory of the context.
pub struct Inside<'a> {
    calls: &'a Calls,
    /// The process that has entered. A child process that was forked inside the call leaves nothing.
    process: u32,
    is_finalize: bool,
}

impl Inside<'_> {
    /// Returns whether Finalize was called and leaves its work to this call, or waits for it.
    pub fn is_last(&self) -> bool {
        let state = self.calls.state.load(Ordering::Relaxed);
        state & PROCESS == self.process && state & ENDING != 0
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let Calls { state, thread } = self.calls;
        let _ = thread.compare_exchange(this_thread(), 0, Ordering::Relaxed, Ordering::Relaxed);
        let (address, process, is_finalize) = (&raw const *state, self.process, self.is_finalize);
        let leave = |state: u32| match (state & PROCESS == process, is_finalize) {
            (true, true) => Some(process),
            (true, false) => Some(state - 1),
            (false, _) => None,
        };
        // From here on the memory may be freed: Finalize of another thread may be running.
        let left = state.fetch_update(Ordering::Release, Ordering::Relaxed, leave);
        if left.is_ok_and(|state| state & WAITING != 0) {
            wake(address);
        }
    }
}

/// Returns the bits of this process.
fn process() -> u32 {
    Generation::current().number() << PROCESS.trailing_zeros()
}

/// Returns a number that no other thread of this process has. Makes no system call.
fn this_thread() -> usize {
    // SAFETY: pthread_self has no preconditions.
    let thread = unsafe { libc::pthread_self() };
    thread as usize // an address in glibc, musl and bionic
}

/// Waits until the word changes, or a signal arrives.
fn wait(word: &AtomicU32, value: u32) {
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let forever: *const libc::timespec = null_mut();
    // SAFETY: `word` outlives the call, and without a time-out the kernel reads nothing else.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, forever) };
}

/// Wakes all threads that wait for the word to change. It may not exist any more: the kernel uses only its address, and a thread
/// that waits on another word at the same address looks again.
fn wake(word: *const AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the kernel does not access the memory of a private futex in this operation.
    unsafe { libc::syscall(libc::SYS_futex, word, operation, i32::MAX) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn no_more_calls_enter_than_are_allowed() {
        let calls = Calls::default();
        let first = calls.enter(2).unwrap();
        let second = calls.enter(2).unwrap();
        assert_eq!(calls.enter(2).err(), Some(ReturnCode::BAD_SEQUENCE.into()));
        drop(first);
        assert!(calls.enter(2).is_ok());
        drop(second);
        let many: Vec<_> = core::iter::from_fn(|| calls.enter(u32::MAX).ok()).collect();
        assert_eq!(many.len(), 255);
        drop(many);
        assert!(calls.enter(1).is_ok());
    }

    #[test]
    fn finalize_waits_for_the_calls_of_other_threads() {
        let calls = Calls::default();
        thread::scope(|scope| {
            let (entered, told) = std::sync::mpsc::channel();
            let calls = &calls;
            let call = move || {
                let inside = calls.enter(2).unwrap();
                entered.send(()).unwrap();
                while !inside.is_last() || calls.state.load(Ordering::Relaxed) & WAITING == 0 {
                    thread::yield_now();
                }
                assert!(calls.enter(3).is_err(), "nothing enters after Finalize was called");
            };
            scope.spawn(call.clone());
            scope.spawn(call);
            told.recv().unwrap();
            told.recv().unwrap();
            let finalize = calls.enter_last().unwrap();
            assert_eq!(calls.state.load(Ordering::Relaxed) & COUNT, 1, "both calls have ended");
            assert!(calls.enter(1).is_err(), "nothing enters during Finalize");
            drop(finalize);
        });
        assert!(calls.enter(1).is_ok());
    }

    #[test]
    fn no_call_is_in_progress_when_finalize_has_entered() {
        for _ in 0..300 {
            let (calls, inside) = (Calls::default(), AtomicU32::new(0));
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while let Ok(call) = calls.enter(2) {
                            inside.fetch_add(1, Ordering::Relaxed);
                            thread::yield_now();
                            inside.fetch_sub(1, Ordering::Relaxed);
                            drop(call);
                        }
                    });
                }
                while inside.load(Ordering::Relaxed) == 0 {
                    thread::yield_now();
                }
                let finalize = calls.enter_last().unwrap();
                assert_eq!(inside.load(Ordering::Relaxed), 0);
                core::mem::forget(finalize); // so that both threads end
            });
        }
    }

    #[test]
    fn finalize_does_not_wait_for_a_call_of_its_own_thread() {
        let calls = Calls::default();
        let inside = calls.enter(1).unwrap();
        assert!(!inside.is_last());
        assert_eq!(calls.enter_last().err(), Some(ReturnCode::BAD_SEQUENCE.into()));
        assert!(inside.is_last());
        drop(inside);
        assert!(calls.enter(1).is_err());
        assert!(calls.enter_last().is_ok());
    }

    #[test]
    fn calls_of_a_parent_process_do_not_count() {
        let calls = Calls::default();
        for flags in [0, ENDING | WAITING] {
            calls.state.store((process() - (1 << PROCESS.trailing_zeros())) | flags | 7, Ordering::Relaxed);
            let inside = calls.enter(1).unwrap();
            assert!(!inside.is_last());
            drop(inside);
            assert!(calls.enter_last().is_ok());
        }
    }

    #[test]
    fn a_process_that_was_forked_inside_a_call_leaves_nothing() {
        let calls = Calls::default();
        let inside = calls.enter(1).unwrap();
        calls.state.store((process() + (1 << PROCESS.trailing_zeros())) | 1, Ordering::Relaxed);
        let before = calls.state.load(Ordering::Relaxed);
        drop(inside);
        assert_eq!(calls.state.load(Ordering::Relaxed), before);
    }
}
