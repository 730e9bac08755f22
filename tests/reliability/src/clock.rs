// SPDX-License-Identifier: BSD-2-Clause
//! Sets the system clock back and forth, as a time server or a person may do it. Time-outs must not be affected.

use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, clock_gettime, clock_settime};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The time-out of the step.
const SHORTEST: Duration = Duration::from_millis(400);
/// The longest time that the step may take on a slow machine.
const LONGEST: Duration = Duration::from_secs(20);

/// Runs a step with a time-out of 400 ms while the clock is set, and measures how long it takes.
pub(super) fn keeps_time<T>(step: impl FnOnce() -> T) -> T {
    while_it_is_set(|| {
        let since = Instant::now();
        let result = step();
        let took = since.elapsed();
        assert!((SHORTEST..LONGEST).contains(&took), "{took:?}");
        result
    })
}

/// Runs `step` while the clock is set an hour ahead and back again.
pub(super) fn while_it_is_set<T>(step: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for hours in [1, -1] {
                    let now = clock_gettime(ClockId::CLOCK_REALTIME).unwrap();
                    clock_settime(ClockId::CLOCK_REALTIME, now + TimeSpec::hours(hours)).unwrap();
                }
            }
        });
        let result = step();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}
