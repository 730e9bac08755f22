// SPDX-License-Identifier: BSD-2-Clause
//! Time as processes have it on a host that is busy: [`OwnTime`] runs slower than the clock while they wait for a processor.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The time that some processes have had.
pub(crate) struct OwnTime {
    since: Instant,
    processes: Vec<u32>,
}

impl OwnTime {
    /// From now on, of processes that were just started.
    pub(crate) fn of(processes: impl Iterator<Item = u32>) -> OwnTime {
        OwnTime { since: Instant::now(), processes: processes.collect() }
    }

    /// The time by the clock, less that in which one of them was ready to run and none of the host's processors was free.
    pub(crate) fn elapsed(&self) -> Duration {
        let waited = self.processes.iter().map(|process| waited(format!("/proc/{process}/task")));
        self.since.elapsed().saturating_sub(waited.sum())
    }
}

/// How long the thread that waited longest did. Others wait at the same time.
fn waited(threads: impl AsRef<Path>) -> Duration {
    let threads = fs::read_dir(threads).into_iter().flatten().flatten();
    let statistics = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    statistics.filter_map(|text| in_queue(&text)).max().unwrap_or_default()
}

/// The second of three numbers, in nanoseconds (Linux, Documentation/scheduler/sched-stats.rst).
fn in_queue(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_waited_longest_counts() {
        let threads = tempfile::tempdir().unwrap();
        for (thread, text) in [("1", "9000 2000 5\n"), ("2", "1 7000 1\n"), ("3", "rubbish")] {
            fs::create_dir(threads.path().join(thread)).unwrap();
            fs::write(threads.path().join(thread).join("schedstat"), text).unwrap();
        }
        assert_eq!(waited(&threads), Duration::from_nanos(7000));
        assert_eq!(waited(threads.path().join("none")), Duration::ZERO);
    }

    #[test]
    fn a_process_has_no_more_time_than_the_clock_says() {
        let time = OwnTime::of([std::process::id()].into_iter());
        assert!(time.elapsed() <= time.since.elapsed());
    }
}
