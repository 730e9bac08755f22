// SPDX-License-Identifier: BSD-2-Clause
//! Faults that explain failures of other programs: [`Trouble`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The faults that reach other programs. The thread that makes the faults and the one that runs the programs share it.
/// It also knows failures that the soak did not cause.
#[derive(Clone)]
pub struct Trouble {
    faults: Arc<Mutex<Faults>>,
    outside: fn(Instant) -> bool,
}

#[derive(Clone, Copy, Default)]
struct Faults {
    /// How many faults there were.
    made: u64,
    /// Whether the last fault is not over.
    lasts: bool,
}

/// The faults since a program was started.
pub struct Since<'a> {
    trouble: &'a Trouble,
    faults: Faults,
    time: Instant,
}

impl Trouble {
    /// Starts without faults. `outside` returns whether something that the soak did not cause has kept a command from
    /// its response since that time.
    pub fn new(outside: fn(Instant) -> bool) -> Trouble {
        Trouble { faults: Arc::default(), outside }
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `make`, which may make a fault. `is_met` says whether it reaches other programs. No program is started
    /// meanwhile.
    pub fn begin<T>(&self, make: impl FnOnce() -> T, is_met: impl FnOnce(&T) -> bool) -> T {
        let mut faults = self.faults();
        let made = make();
        if is_met(&made) {
            *faults = Faults { made: faults.made + 1, lasts: true };
        }
        made
    }

    /// Notes that the fault is over.
    pub fn end(&self) {
        self.faults().lasts = false;
    }

    /// Whether something that the soak did not cause explains a failure since then.
    pub fn is_outside(&self, since: Instant) -> bool {
        (self.outside)(since)
    }

    /// Begins to watch for faults; call it before a program is started.
    pub fn watch(&self) -> Since<'_> {
        Since { trouble: self, faults: *self.faults(), time: Instant::now() }
    }
}

impl Since<'_> {
    /// Whether there was a fault at any time.
    pub fn met(&self) -> bool {
        let Since { trouble, faults, time } = self;
        faults.lasts || trouble.faults().made != faults.made || trouble.is_outside(*time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_explains_failures_of_every_program_that_ran_during_it() {
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
    fn a_fault_of_one_context_explains_no_failure() {
        let trouble = Trouble::new(|_| false);
        let before = trouble.watch();
        trouble.begin(|| (), |()| false);
        assert!(!before.met() && !trouble.watch().met());
    }

    #[test]
    fn an_outside_cause_explains_a_failure() {
        assert!(Trouble::new(|_| true).watch().met());
    }
}
