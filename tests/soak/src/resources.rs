// SPDX-License-Identifier: BSD-2-Clause
//! What this process holds: descriptors, memory, children.

use crate::sys::heap;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, waitpid};
use std::fs;
use std::time::{Duration, Instant};

/// Growth of memory that is no leak: pages that an allocator keeps.
const RSS_BOUND: u64 = 4 << 20;
/// Growth of the heap that is no leak: what this program knows of a TPM, and the text of its longest call, take as much
/// when they are met late. Else it is below 1 KiB, if the allocator keeps nothing for each thread: what is kept there
/// counts as allocated (`GLIBC_TUNABLES`, `tools/xtask/src/soak.rs`).
const HEAP_BOUND: usize = 8 << 10;
/// How long descriptors of connections that were closed at one end may stay at the other.
const SETTLE: Duration = Duration::from_secs(10);

/// At a moment without contexts and connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    descriptors: usize,
    /// Bytes.
    rss: u64,
    /// Bytes that are allocated.
    heap: usize,
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

impl Resources {
    /// Now.
    pub(crate) fn now() -> Resources {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        Resources { descriptors: descriptors(), rss: pages * 4096, heap: heap() }
    }

    /// What is more now than it was then.
    pub(crate) fn growth(&self) -> Vec<String> {
        let since = Instant::now();
        while descriptors() > self.descriptors && since.elapsed() < SETTLE {
            std::thread::sleep(Duration::from_millis(10)); // how often to look
        }
        let now = Resources::now();
        let mut leaks = Vec::new();
        if now.descriptors > self.descriptors {
            leaks.push(format!("{} descriptors where there were {}: {}", now.descriptors, self.descriptors, links()));
        }
        if now.rss > self.rss + RSS_BOUND {
            leaks.push(format!("{} KiB of memory where there were {}", now.rss >> 10, self.rss >> 10));
        }
        if now.heap > self.heap + HEAP_BOUND {
            leaks.push(format!("{} bytes allocated where there were {}", now.heap, self.heap));
        }
        eprintln!("soak: {self:?} then, {now:?} now");
        leaks
    }
}

fn links() -> String {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// Children that nobody has waited for, at the end.
pub(crate) fn children() -> Option<String> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Err(Errno::ECHILD) => None,
        other => Some(format!("a child process is left: {other:?}")),
    }
}
