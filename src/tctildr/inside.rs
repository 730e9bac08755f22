// SPDX-License-Identifier: BSD-2-Clause
//! Counts the calls in progress on a context, so that Finalize excludes them: [`Inside`]. A call that cannot enter fails instead
//! of waiting.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering};

/// A call in progress; it ends when this is dropped.
pub(crate) struct Inside<'a> {
    count: &'a AtomicUsize,
    /// What the call adds to the count.
    weight: usize,
}

/// What Finalize adds to the count: the maximum, so that no call can be added.
const EXCLUSIVE: usize = usize::MAX;

impl Inside<'_> {
    /// Enters a call. `None` during Finalize.
    pub(crate) fn enter(count: &AtomicUsize) -> Option<Inside<'_>> {
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |inside| inside.checked_add(1)).ok()?;
        Some(Inside { count, weight: 1 })
    }

    /// Enters Finalize. `None` during any other call.
    pub(crate) fn enter_exclusive(count: &AtomicUsize) -> Option<Inside<'_>> {
        count.compare_exchange(0, EXCLUSIVE, Ordering::SeqCst, Ordering::SeqCst).ok()?;
        Some(Inside { count, weight: EXCLUSIVE })
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
    fn finalize_enters_only_after_all_calls_have_ended() {
        let count = AtomicUsize::new(0);
        let calls = [Inside::enter(&count), Inside::enter(&count)];
        assert!(calls.iter().all(Option::is_some));
        for call in calls {
            assert!(Inside::enter_exclusive(&count).is_none());
            assert!(Inside::enter_exclusive(&count).is_none(), "a failed attempt must not change the count");
            drop(call);
        }
        assert!(Inside::enter_exclusive(&count).is_some());
    }

    #[test]
    fn nothing_enters_during_finalize() {
        let count = AtomicUsize::new(0);
        let finalize = Inside::enter_exclusive(&count);
        assert!(finalize.is_some());
        assert!(Inside::enter_exclusive(&count).is_none());
        assert!(Inside::enter(&count).is_none());
        drop(finalize);
        assert!(Inside::enter(&count).is_some());
    }
}
