// SPDX-License-Identifier: BSD-2-Clause
//! Who is inside a context: any number of calls, or Finalize alone. [`Inside`] counts them, and nobody waits.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering};

/// One that is inside, until dropped.
pub(crate) struct Inside<'a> {
    count: &'a AtomicUsize,
    weight: usize,
}

/// What Finalize counts for: no call fits in beside it.
const ALONE: usize = usize::MAX;

impl Inside<'_> {
    /// A call. `None` while Finalize is inside.
    pub(crate) fn enter(count: &AtomicUsize) -> Option<Inside<'_>> {
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |inside| inside.checked_add(1)).ok()?;
        Some(Inside { count, weight: 1 })
    }

    /// Finalize. `None` while anybody is inside.
    pub(crate) fn alone(count: &AtomicUsize) -> Option<Inside<'_>> {
        count.compare_exchange(0, ALONE, Ordering::SeqCst, Ordering::SeqCst).ok()?;
        Some(Inside { count, weight: ALONE })
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(self.weight, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_a_call_is_inside_no_finalize_comes_in_and_then_one() {
        let count = AtomicUsize::new(0);
        let calls = [Inside::enter(&count), Inside::enter(&count)];
        assert!(calls.iter().all(Option::is_some));
        for call in calls {
            assert!(Inside::alone(&count).is_none());
            assert!(Inside::alone(&count).is_none(), "one that did not come in leaves nothing behind");
            drop(call);
        }
        assert!(Inside::alone(&count).is_some());
    }

    #[test]
    fn finalize_is_alone() {
        let count = AtomicUsize::new(0);
        let finalize = Inside::alone(&count);
        assert!(finalize.is_some());
        assert!(Inside::alone(&count).is_none());
        assert!(Inside::enter(&count).is_none());
        drop(finalize);
        assert!(Inside::enter(&count).is_some());
    }
}
