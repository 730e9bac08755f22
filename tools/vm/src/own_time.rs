// SPDX-License-Identifier: BSD-2-Clause
//! Measures time for processes on a busy host: [`OwnTime`] does not advance while they wait for a processor.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The time since some processes started, not counting time that they waited for a processor.
pub(crate) struct OwnTime {
    since: Instant,
    processes: Vec<u32>,
}

impl OwnTime {
    /// Starts measuring, for processes that have just started.
    pub(crate) fn of(processes: impl Iterator<Item = u32>) -> OwnTime {
        OwnTime { since: Instant::now(), processes: processes.collect() }
    }

    /// Returns the wall-clock time minus the time in which a process was runnable but not running.
    pub(crate) fn elapsed(&self) -> Duration {
        let waited = self.processes.iter().map(|process| waited(format!("/proc/{process}/task")));
        self.since.elapsed().saturating_sub(waited.sum())
    }
}

/// Returns the longest time that any thread has waited, assuming that the other threads waited at the same time.
fn waited(threads: impl AsRef<Path>) -> Duration {
    let threads = fs::read_dir(threads).into_iter().flatten().flatten();
    let statistics = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    statistics.filter_map(|text| in_queue(&text)).max().unwrap_or_default()
}

/// Parses the time spent waiting on a run queue: the second of three numbers, in nanoseconds (Linux,
/// Documentation/scheduler/sched-stats.rst).
fn in_queue(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_waiting_thread_counts() {
        let threads = tempfile::tempdir().unwrap();
        for (thread, text) in [("1", "9000 2000 5\n"), ("2", "1 7000 1\n"), ("3", "rubbish")] {
            fs::create_dir(threads.path().join(thread)).unwrap();
            fs::write(threads.path().join(thread).join("schedstat"), text).unwrap();
        }
        assert_eq!(waited(&threads), Duration::from_nanos(7000));
        assert_eq!(waited(threads.path().join("none")), Duration::ZERO);
    }

    #[test]
    fn own_time_does_not_exceed_wall_clock_time() {
        let time = OwnTime::of([std::process::id()].into_iter());
        assert!(time.elapsed() <= time.since.elapsed());
    }
}
