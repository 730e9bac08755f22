// SPDX-License-Identifier: BSD-2-Clause
//! Whether another process was forked that has what this one has ([`Heirs`]): a server that serves one connection at a
//! time serves none of them while this process keeps a connection that they do not have.
#![forbid(unsafe_code)]

use crate::io::{above_stdio, file_in_memory};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// What tells. A lock of flock(2) belongs to the open file, of which a forked process has a descriptor, too, and ends with
/// the last of them.
#[derive(Debug)]
pub(super) enum Heirs {
    /// Nobody has asked yet, and there are none that would be kept waiting.
    Unasked,
    /// There are none, unless this file, which is locked, is open elsewhere.
    Watched(File),
    /// There are, or may be.
    Some,
}

impl Heirs {
    /// Whether there may be any. The answer is no the first time, and for good once it is yes.
    pub(super) fn exist(&mut self) -> bool {
        let first = matches!(self, Heirs::Unasked);
        let watched = match std::mem::replace(self, Heirs::Some) {
            Heirs::Unasked => file_in_memory(c"tcti-heirs").map(File::from).and_then(lock),
            Heirs::Watched(file) => alone(file),
            Heirs::Some => return true,
        };
        if let Ok(file) = watched {
            *self = Heirs::Watched(file);
        }
        !first && matches!(self, Heirs::Some)
    }
}

/// The same file, opened again and locked, which fails while a process has the open one that we close here.
fn alone(file: File) -> io::Result<File> {
    let again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let again = above_stdio(OwnedFd::from(again))?;
    drop(file);
    lock(File::from(again))
}

fn lock(file: File) -> io::Result<File> {
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Forked, Heir};

    #[test]
    fn there_are_none_until_a_process_is_forked_and_then_there_are_for_good() {
        let mut heirs = Heirs::Unasked;
        assert!(!heirs.exist());
        assert!(!heirs.exist());
        let heir = Heir::idle();
        assert!(heirs.exist());
        heir.end();
        assert!(heirs.exist());
    }

    #[test]
    fn a_process_that_has_ended_is_none() {
        let mut heirs = Heirs::Unasked;
        assert!(!heirs.exist());
        assert_eq!(Forked::asks(|| true).status(), Some(0));
        assert!(!heirs.exist());
    }

    #[test]
    fn who_cannot_tell_has_some() {
        let mut heirs = Heirs::Some;
        assert!(heirs.exist());
    }
}
