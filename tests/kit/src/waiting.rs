// SPDX-License-Identifier: BSD-2-Clause
//! Waiting for what another process does, see [`wait_until`].

use std::thread;
use std::time::Duration;

/// How often it is looked for, every 2 ms. Looks are counted, and not seconds: on a machine that is emulated or busy, looking
/// takes longer, as does what is waited for.
const LOOKS: usize = 30_000;

/// Waits until something holds; its name is for the test that fails.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(2)); // only how often to ask
    }
    panic!("waited in vain: {what}");
}
