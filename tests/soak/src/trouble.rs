// SPDX-License-Identifier: BSD-2-Clause
//! Which failures are explained by more than a fault of the one context: [`Trouble`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Faults that programs beside may meet, as those who make them and those who run the programs know them; and what is not
/// of our making.
#[derive(Clone)]
pub struct Trouble {
    faults: Arc<Mutex<Faults>>,
    outside: fn(Instant) -> bool,
}

#[derive(Clone, Copy, Default)]
struct Faults {
    /// How many there were.
    made: u64,
    /// The last one is still there.
    lasts: bool,
}

/// Since a program was started.
pub struct Since<'a> {
    trouble: &'a Trouble,
    faults: Faults,
    time: Instant,
}

impl Trouble {
    /// None yet; `outside` tells whether something that is not of our making has kept a command from its answer since then.
    pub fn new(outside: fn(Instant) -> bool) -> Trouble {
        Trouble { faults: Arc::default(), outside }
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Whether it was something that is not of our making, since then.
    pub fn is_outside(&self, since: Instant) -> bool {
        (self.outside)(since)
    }

    /// A program is about to be started.
    pub fn watch(&self) -> Since<'_> {
        Since { trouble: self, faults: *self.faults(), time: Instant::now() }
    }
}

impl Since<'_> {
    /// Whether there was anything at any moment.
    pub fn met(&self) -> bool {
        let Since { trouble, faults, time } = self;
        faults.lasts || trouble.faults().made != faults.made || trouble.is_outside(*time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_explains_what_was_under_way_at_any_moment_of_it() {
        let trouble = Trouble::new(|_| false);
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
        let trouble = Trouble::new(|_| false);
        let before = trouble.watch();
        trouble.begin(|| (), |()| false);
        assert!(!before.met() && !trouble.watch().met());
    }

    #[test]
    fn what_is_not_of_our_making_explains_it_too() {
        assert!(Trouble::new(|_| true).watch().met());
    }
}
