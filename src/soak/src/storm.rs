// SPDX-License-Identifier: BSD-2-Clause
//! Signals for the thread that makes the calls, one after the other. No call may fail of them.

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// A source of signals, off at first.
pub(crate) struct Storm(Arc<Signals>);

#[derive(Default)]
struct Signals {
    /// Microseconds between two; 0: none are sent.
    pause: AtomicU32,
    sent: AtomicU64,
}

fn signals() -> SigSet {
    SigSet::from_iter([Signal::SIGUSR1])
}

/// Threads that are started from now on get none.
pub(crate) fn shelter() {
    signals().thread_block().unwrap();
}

impl Storm {
    /// For this thread alone; all others were started in the shelter.
    pub(crate) fn over_this_thread() -> Storm {
        let signals_sent = Arc::new(Signals::default());
        let storm = Storm(Arc::clone(&signals_sent));
        thread::spawn(move || {
            loop {
                match signals_sent.pause.load(Ordering::Relaxed) {
                    0 => thread::sleep(Duration::from_millis(5)),
                    micros => {
                        kill(Pid::this(), Signal::SIGUSR1).unwrap();
                        signals_sent.sent.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_micros(micros.into()));
                    }
                }
            }
        });
        signals().thread_unblock().unwrap();
        storm
    }

    /// A signal each so many microseconds.
    pub(crate) fn begin(&self, micros: u32) {
        self.0.sent.store(0, Ordering::Relaxed);
        self.0.pause.store(micros.max(1), Ordering::Relaxed);
    }

    /// How many signals it was.
    pub(crate) fn end(&self) -> u64 {
        self.0.pause.store(0, Ordering::Relaxed);
        self.0.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.pause.load(Ordering::Relaxed) != 0
    }
}
