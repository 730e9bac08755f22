// SPDX-License-Identifier: BSD-2-Clause
//! Detects a fork: [`Generation::current`] differs between a process and those that it was forked from. Every call of a
//! module checks it, so it makes no system call.

use crate::sys;
use once_cell::race::OnceRef;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Distinguishes a process from its ancestors. Two children of the same process may have the same generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u32);

/// A word that the kernel clears in a child process; [`NO_WITNESS`] if the kernel cannot, in which case the process ID is used
/// instead. The cell never blocks: after a fork the thread that holds a lock may not exist. When two threads initialise it at
/// once, the page of the second one is leaked.
static WITNESS: OnceRef<'static, AtomicU32> = OnceRef::new();
static NO_WITNESS: AtomicU32 = AtomicU32::new(0);

/// The last generation that this process or an ancestor with this library has taken.
static LAST: AtomicU32 = AtomicU32::new(0);

impl Generation {
    /// Returns the generation of this process.
    pub fn current() -> Generation {
        let witness = WITNESS.get_or_init(|| sys::cleared_in_child().unwrap_or(&NO_WITNESS));
        match ptr::eq(witness, &NO_WITNESS) {
            true => Generation(process::id()),
            false => Generation(generation_of(witness)),
        }
    }

    /// Returns a number for it, which starts at 1 and is one higher in each child process that uses this library; the process ID
    /// where the kernel does not support more.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Returns the generation of a parent process, which this process never has. For tests.
    #[cfg(any(test, feature = "testing"))]
    pub const fn parent() -> Generation {
        Generation(0)
    }
}

/// Returns the generation in `witness`, or takes the next one if this process has none yet.
fn generation_of(witness: &AtomicU32) -> u32 {
    match witness.load(Ordering::Relaxed) {
        0 => {
            let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            // Another thread may have stored its number first.
            witness.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(next)
        }
        generation => generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::emulator_lacks;

    #[test]
    fn the_generation_of_a_process_is_constant() {
        assert_eq!(Generation::current(), Generation::current());
        assert_ne!(Generation::current(), Generation::parent());
    }

    #[test]
    fn cleared_memory_is_a_new_generation() {
        let witness = AtomicU32::new(0);
        let here = generation_of(&witness);
        assert_eq!(generation_of(&witness), here);
        witness.store(0, Ordering::Relaxed); // as the kernel does in a child
        assert!(generation_of(&witness) > here);
    }

    #[test]
    fn the_kernel_clears_the_witness_in_a_child() {
        let Ok(witness) = sys::cleared_in_child() else {
            return emulator_lacks("memory that is cleared in a child (MADV_WIPEONFORK)");
        };
        witness.store(1, Ordering::Relaxed);
        assert_eq!(sys::Forked::status_of(|| witness.load(Ordering::Relaxed) == 0), Some(0));
        assert_eq!(witness.load(Ordering::Relaxed), 1);
    }
}
