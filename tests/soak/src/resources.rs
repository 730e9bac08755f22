// SPDX-License-Identifier: BSD-2-Clause
//! The resources of this process: file descriptors, memory, child processes.

use crate::sys::heap;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, waitpid};
use std::fs;
use std::time::{Duration, Instant};

/// Growth of the resident memory, in bytes, that is no leak: pages that the allocator keeps.
const RSS_BOUND: u64 = 4 << 20;
/// Growth of the heap, in bytes, that is no leak: this program's knowledge of a TPM and the text of its longest call,
/// which may come late. Without them it is below 1 KiB, if the allocator has no cache per thread: that counts as
/// allocated (`GLIBC_TUNABLES` in `tools/xtask/src/soak.rs`).
const HEAP_BOUND: usize = 8 << 10;
/// How long a connection that was closed at one end may stay open at the other.
const SETTLE: Duration = Duration::from_secs(10);

/// Resources at a time without contexts and connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    descriptors: usize,
    /// Bytes.
    rss: u64,
    /// Allocated bytes.
    heap: usize,
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

impl Resources {
    /// Counts the resources.
    pub(crate) fn now() -> Resources {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        Resources { descriptors: descriptors(), rss: pages * 4096, heap: heap() }
    }

    /// Compares with the resources now. Returns a text for each that has grown too much.
    pub(crate) fn growth(&self) -> Vec<String> {
        let since = Instant::now();
        while descriptors() > self.descriptors && since.elapsed() < SETTLE {
            std::thread::sleep(Duration::from_millis(10)); // how often to look
        }
        let now = Resources::now();
        let mut leaks = Vec::new();
        if now.descriptors > self.descriptors {
            leaks.push(format!("{} descriptors, before {}: {}", now.descriptors, self.descriptors, links()));
        }
        if now.rss > self.rss + RSS_BOUND {
            leaks.push(format!("{} KiB of memory, before {}", now.rss >> 10, self.rss >> 10));
        }
        if now.heap > self.heap + HEAP_BOUND {
            leaks.push(format!("{} bytes allocated, before {}", now.heap, self.heap));
        }
        eprintln!("soak: {self:?} before, {now:?} now");
        leaks
    }
}

fn links() -> String {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// Reports a child process that nobody has waited for.
pub(crate) fn children() -> Option<String> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Err(Errno::ECHILD) => None,
        other => Some(format!("a child process is left: {other:?}")),
    }
}
