// SPDX-License-Identifier: BSD-2-Clause
//! Which failures of the programs beside a fault explains: [`Trouble`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Faults that programs beside may meet, as those who make them and those who run the programs know them.
#[derive(Clone, Default)]
pub struct Trouble(Arc<Mutex<Faults>>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Faults {
    /// How many there were.
    made: u64,
    /// The last one is still there.
    lasts: bool,
}

/// Since a program was started.
pub struct Since<'a>(&'a Trouble, Faults);

impl Trouble {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a fault, or none; `is_met`: programs beside may meet it. None is started meanwhile.
    pub fn begin<T>(&self, make: impl FnOnce() -> T, is_met: impl FnOnce(&T) -> bool) -> T {
        let mut faults = self.faults();
        let made = make();
        if is_met(&made) {
            *faults = Faults { made: faults.made + 1, lasts: true };
        }
        made
    }

    /// The fault is over.
    pub fn end(&self) {
        self.faults().lasts = false;
    }

    /// A program is about to be started.
    pub fn watch(&self) -> Since<'_> {
        Since(self, *self.faults())
    }
}

impl Since<'_> {
    /// Whether there was a fault at any moment.
    pub fn met(&self) -> bool {
        let Since(trouble, then) = self;
        then.lasts || trouble.faults().made != then.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_explains_what_was_under_way_at_any_moment_of_it() {
        let trouble = Trouble::default();
        let before = trouble.watch();
        assert!(!before.met());
        assert_eq!(trouble.begin(|| 7, |_| true), 7);
        let during = trouble.watch();
        trouble.end();
        assert!(before.met() && during.met());
        assert!(!trouble.watch().met());
    }

    #[test]
    fn a_fault_of_one_context_explains_nothing() {
        let trouble = Trouble::default();
        let before = trouble.watch();
        trouble.begin(|| (), |()| false);
        assert!(!before.met() && !trouble.watch().met());
    }
}
