// SPDX-License-Identifier: BSD-2-Clause
//! Waits for another process: [`wait_until`].

use std::thread;
use std::time::Duration;

/// How often a condition is checked, every 2 ms. The limit is a number of checks and not a time, because on a machine
/// that is emulated or busy both the check and the event take longer.
const CHECKS: usize = 30_000;

/// Waits until `holds` returns true. `what` names the event in the message of a test that fails.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..CHECKS {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(2)); // the interval between checks
    }
    panic!("timed out waiting for {what}");
}
