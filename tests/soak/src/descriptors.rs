// SPDX-License-Identifier: BSD-2-Clause
//! Keeps this process from opening file descriptors (RLIMIT_NOFILE): [`Exhausted`].

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::File;
use std::os::fd::AsRawFd;

/// While this value lives, nothing can be opened.
pub(crate) struct Exhausted {
    before: (u64, u64),
}

impl Exhausted {
    /// Lowers the limit. Returns `None` if nothing can be opened already.
    pub(crate) fn now() -> Option<Exhausted> {
        let free = File::open("/dev/null").ok()?.as_raw_fd();
        let before = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(free).unwrap(), before.1).unwrap();
        Some(Exhausted { before })
    }
}

impl Drop for Exhausted {
    fn drop(&mut self) {
        setrlimit(Resource::RLIMIT_NOFILE, self.before.0, self.before.1).unwrap();
    }
}
