// SPDX-License-Identifier: BSD-2-Clause
//! Sends signals to the thread that makes the calls, one after the other. No call may fail because of them.

use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// A source of signals, which is off at first.
pub(crate) struct Storm {
    /// Microseconds between two signals; 0 turns them off.
    pause: Arc<AtomicU32>,
}

impl Storm {
    /// Signals this thread alone. It must not end before the program.
    pub(crate) fn over_this_thread() -> Storm {
        let (this, pause) = (pthread_self(), Arc::new(AtomicU32::new(0)));
        let storm = Storm { pause: Arc::clone(&pause) };
        thread::spawn(move || {
            loop {
                match pause.load(Ordering::Relaxed) {
                    0 => thread::sleep(Duration::from_millis(5)),
                    micros => {
                        pthread_kill(this, Signal::SIGUSR1).unwrap();
                        thread::sleep(Duration::from_micros(micros.into()));
                    }
                }
            }
        });
        storm
    }

    /// Sends a signal every `micros` microseconds.
    pub(crate) fn begin(&self, micros: u32) {
        self.pause.store(micros.max(1), Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.pause.store(0, Ordering::Relaxed);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.pause.load(Ordering::Relaxed) != 0
    }
}
