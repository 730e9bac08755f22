// SPDX-License-Identifier: BSD-2-Clause
//! The system's clock is set, as a time server or a person does. Time-outs are to be as long as they say.

use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, clock_gettime, clock_settime};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A step of 400 ms.
const SHORTEST: Duration = Duration::from_millis(400);
/// On a slow machine.
const LONGEST: Duration = Duration::from_secs(20);

/// Runs a step of 400 ms while it jumps.
pub(super) fn keeps_time(step: impl FnOnce() -> String) -> String {
    while_it_jumps(|| {
        let since = Instant::now();
        let code = step();
        let took = since.elapsed();
        assert!((SHORTEST..LONGEST).contains(&took), "{took:?}");
        code
    })
}

/// Runs `step` while the clock is set an hour ahead and back again.
pub(super) fn while_it_jumps(step: impl FnOnce() -> String) -> String {
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
        let code = step();
        is_over.store(true, Ordering::Relaxed);
        code
    })
}
