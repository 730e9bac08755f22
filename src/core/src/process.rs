// SPDX-License-Identifier: BSD-2-Clause
//! Whether this process was forked from the one that something was made in: [`Process::current`]. Asked in every call,
//! so without a system call.

use crate::sys;
use once_cell::race::OnceBox;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// A process, among those that were forked one from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u64);

/// Memory that the kernel clears in a child; `None` before Linux 4.14, where the number of the process has to do.
static WITNESS: OnceBox<Option<&'static AtomicU64>> = OnceBox::new();

/// How many processes there were from the first with this library down to this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

impl Process {
    /// This one.
    pub(crate) fn current() -> Process {
        match WITNESS.get_or_init(|| Box::new(sys::cleared_in_child().ok())) {
            Some(witness) => Process(generation(witness)),
            None => Process(process::id().into()),
        }
    }

    /// One that this one was forked from.
    #[cfg(test)]
    pub(crate) const fn parent() -> Process {
        Process(0)
    }
}

/// What `witness` says, or the next generation when nobody has asked yet in this process.
fn generation(witness: &AtomicU64) -> u64 {
    match witness.load(Ordering::Relaxed) {
        0 => {
            let next = GENERATION.fetch_add(1, Ordering::Relaxed) + 1;
            // Another thread may have been faster.
            witness.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(next)
        }
        generation => generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_stays_the_same() {
        assert_eq!(Process::current(), Process::current());
        assert_ne!(Process::current(), Process::parent());
    }

    #[test]
    fn memory_that_was_cleared_is_another_process() {
        let witness = sys::cleared_in_child().unwrap();
        let here = generation(witness);
        assert_eq!(generation(witness), here);
        witness.store(0, Ordering::Relaxed); // as the kernel does it
        assert!(generation(witness) > here);
    }

    #[test]
    fn the_kernel_clears_it_in_a_child() {
        let witness = sys::cleared_in_child().unwrap();
        witness.store(1, Ordering::Relaxed);
        assert_eq!(sys::in_child(|| witness.load(Ordering::Relaxed) == 0), Some(0));
        assert_eq!(witness.load(Ordering::Relaxed), 1);
    }
}
