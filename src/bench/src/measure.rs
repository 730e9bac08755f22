// SPDX-License-Identifier: BSD-2-Clause
//! Timing several subjects in turn, so that they share the machine's good and bad moments.

use crate::subject::{self, Command, Subject};
use anyhow::Result;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Of many times, in microseconds.
pub(crate) struct Figures {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ({:.1})", self.median, self.p99)
    }
}

impl Figures {
    fn of(mut times: Vec<Duration>) -> Figures {
        times.sort();
        let at = |part: f64| {
            let index = (times.len().saturating_sub(1)) as f64 * part;
            times.get(index as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        Figures { median: at(0.5), p99: at(0.99) }
    }
}

/// Commands of one subject before the next has its turn, and before them some that do not count.
const TURN: usize = 50;
const WARM_UP: usize = 5;

/// Sends `commands` commands through each subject, in turns.
pub(crate) fn in_turn(subjects: &[Subject], command: Command, commands: usize) -> Result<Vec<Figures>> {
    let mut times = vec![Vec::with_capacity(commands); subjects.len()];
    for _ in 0..commands.div_ceil(TURN) {
        for (subject, times) in subjects.iter().zip(&mut times) {
            let mut carrier = subject()?;
            (0..WARM_UP).try_for_each(|_| subject::carry(&mut carrier, command))?;
            for _ in 0..TURN.min(commands) {
                let start = Instant::now();
                subject::carry(&mut carrier, command)?;
                times.push(start.elapsed());
            }
        }
    }
    Ok(times.into_iter().map(Figures::of).collect())
}

/// Opens and closes a module many times.
pub(crate) fn init(library: &Path, conf: &str) -> Result<Figures> {
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        let child = subject::open(library, conf)?;
        times.push(start.elapsed());
        drop(child);
    }
    Ok(Figures::of(times))
}
