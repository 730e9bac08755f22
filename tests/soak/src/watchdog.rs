// SPDX-License-Identifier: BSD-2-Clause
//! Detects hangs: a call that does not return ends the program, which prints the call and the seed. Servers and tools
//! end with the program.

use crate::driver::Report;
use crate::last_words;
use std::fmt::{self, Write};
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any time-out of a module on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// The exit status after a hang.
const HUNG: i32 = 3;

#[derive(Default)]
struct Call {
    since: Option<Instant>,
    text: String,
}

/// Watches the calls of one thread. In a forked process, which has set an alarm instead, it only writes them down.
#[derive(Clone)]
pub(crate) struct Watchdog {
    call: Arc<Mutex<Call>>,
    report: Option<Arc<Report>>,
}

impl Watchdog {
    /// Watches a thread that puts `what` under load.
    pub(crate) fn start(what: &'static str, seed: u64) -> Watchdog {
        let dog = Watchdog { call: Arc::default(), report: None };
        let watched = dog.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_secs(1)); // how often to look
                let call = watched.lock();
                if call.since.is_some_and(|since| since.elapsed() > LIMIT) {
                    eprintln!("soak: {what} with seed {seed}: a hang: {} has not returned after {LIMIT:?}", call.text);
                    last_words();
                    process::exit(HUNG);
                }
            }
        });
        dog
    }

    /// Makes the watchdog of a forked process. The lock of the inherited one may never be released.
    pub(crate) fn of_worker(report: Report) -> Watchdog {
        Watchdog { call: Arc::default(), report: Some(Arc::new(report)) }
    }

    fn lock(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call; `text` describes it.
    pub(crate) fn watch<T>(&self, text: fmt::Arguments<'_>, call: impl FnOnce() -> T) -> T {
        {
            let mut now = self.lock();
            now.since = Some(Instant::now());
            now.text.clear();
            let _ = now.text.write_fmt(text); // to a string it succeeds
            if let Some(report) = &self.report {
                report.call(&now.text);
            }
        }
        let result = call();
        self.lock().since = None;
        result
    }
}
