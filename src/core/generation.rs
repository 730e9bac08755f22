// SPDX-License-Identifier: BSD-2-Clause
//! Whether this process was forked from the one that something was made in: [`Generation::current`]. Asked in every
//! call, so without a system call.

use crate::sys;
use once_cell::race::OnceBox;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Tells a process from those that it was forked from. Two that were forked from the same one are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u32);

/// Memory that the kernel clears in a child; `None` where it does not, and the number of the process has to do. Nobody
/// waits here for another thread: in a child there is none that could finish. One that came second leaves a page.
static WITNESS: OnceBox<Option<&'static AtomicU32>> = OnceBox::new();

/// The last generation from the first process with this library down to this one.
static LAST: AtomicU32 = AtomicU32::new(0);

impl Generation {
    /// That of this process.
    pub fn current() -> Generation {
        match WITNESS.get_or_init(|| Box::new(sys::cleared_in_child().ok())) {
            Some(witness) => Generation(said_by(witness)),
            None => Generation(process::id()),
        }
    }

    /// That of a process that this one was forked from.
    #[cfg(any(test, feature = "testing"))]
    pub const fn parent() -> Generation {
        Generation(0)
    }
}

/// What `witness` says, or the next generation when nobody has asked yet in this process.
fn said_by(witness: &AtomicU32) -> u32 {
    match witness.load(Ordering::Relaxed) {
        0 => {
            let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            // Another thread may have been faster.
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
    fn a_process_stays_the_same() {
        assert_eq!(Generation::current(), Generation::current());
        assert_ne!(Generation::current(), Generation::parent());
    }

    #[test]
    fn memory_that_was_cleared_is_another_generation() {
        let witness = AtomicU32::new(0);
        let here = said_by(&witness);
        assert_eq!(said_by(&witness), here);
        witness.store(0, Ordering::Relaxed); // as the kernel does it
        assert!(said_by(&witness) > here);
    }

    #[test]
    fn the_kernel_clears_it_in_a_child() {
        let Ok(witness) = sys::cleared_in_child() else {
            return emulator_lacks("memory that is cleared in a child (MADV_WIPEONFORK)");
        };
        witness.store(1, Ordering::Relaxed);
        assert_eq!(sys::Forked::status_of(|| witness.load(Ordering::Relaxed) == 0), Some(0));
        assert_eq!(witness.load(Ordering::Relaxed), 1);
    }
}
