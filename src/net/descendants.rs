// SPDX-License-Identifier: BSD-2-Clause
//! Detects forked processes that have a copy of the context: [`Descendants::exist`]. A server that serves one connection at a
//! time serves none of them while this process keeps a connection open that they do not share.
#![forbid(unsafe_code)]

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use tcti_core::io::file_in_memory;
use tcti_core::kept::Kept;

/// What is known about other processes with a copy of the context. A lock of flock(2) belongs to an open file, and is released
/// when the last file descriptor for that is closed; a forked process inherits one.
#[derive(Debug)]
pub(super) enum Descendants {
    /// Not checked yet: no connection was kept that could block another process.
    Unknown,
    /// No process existed at the last check. One that was forked since has this locked file open.
    Watched(Kept),
    /// Other processes exist, or may exist. A forked process keeps the file open that another process watches, for as long as
    /// it has the context.
    Exist(Option<Kept>),
}

impl Descendants {
    /// Returns whether such processes may exist. The first call returns false; once a call has returned true, all later ones
    /// do.
    pub(super) fn exist(&mut self) -> bool {
        let first = matches!(self, Descendants::Unknown);
        let watched = match mem::replace(self, Descendants::Exist(None)) {
            Descendants::Unknown => file_in_memory(c"tcti-descendants").and_then(lock),
            Descendants::Watched(file) => lock_again(file),
            held @ Descendants::Exist(_) => {
                *self = held;
                return true;
            }
        };
        if let Ok(file) = watched {
            *self = Descendants::Watched(file);
        }
        !first && matches!(self, Descendants::Exist(_))
    }

    /// Called in a forked process. Its parent has a copy of the context.
    pub(super) fn after_fork(&mut self) {
        let held = match mem::replace(self, Descendants::Exist(None)) {
            Descendants::Watched(file) | Descendants::Exist(Some(file)) => Some(file),
            Descendants::Unknown | Descendants::Exist(None) => None,
        };
        *self = Descendants::Exist(held);
    }
}

/// Opens the same file again, closes the old file descriptor, and locks the new one. Fails while another process has the old
/// one open, and if the program has closed it.
fn lock_again(file: Kept) -> io::Result<Kept> {
    let number = file.get().ok_or(io::ErrorKind::NotFound)?.as_raw_fd();
    let again = File::open(format!("/proc/self/fd/{number}"))?;
    drop(file);
    lock(again.into())
}

fn lock(file: OwnedFd) -> io::Result<Kept> {
    let file = Kept::new(file)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tcti_core::testing::{Forked, ForkedChild};

    /// Returns a value without descendants, not even processes that another test has forked in the meantime.
    fn childless() -> Descendants {
        loop {
            let mut descendants = Descendants::Unknown;
            assert!(!descendants.exist());
            if !descendants.exist() {
                return descendants;
            }
        }
    }

    #[test]
    fn after_a_fork_descendants_are_assumed_for_ever() {
        let mut descendants = childless();
        let child = ForkedChild::idle();
        assert!(descendants.exist());
        child.end();
        assert!(descendants.exist());
    }

    #[test]
    fn a_forked_process_that_uses_the_context_is_detected() {
        let mut descendants = childless();
        let child = ForkedChild::after(|| {
            descendants.after_fork();
            assert!(descendants.exist());
        });
        assert!(descendants.exist());
        child.end();
    }

    #[test]
    fn a_file_closed_by_the_program_is_not_closed_again() {
        let mut descendants = childless();
        let Descendants::Watched(file) = &mut descendants else { panic!("{descendants:?}") };
        let number = file.as_raw_fd();
        file.reuse_for(File::open("/dev/null").unwrap());
        assert!(descendants.exist());
        assert!(File::open(format!("/proc/self/fd/{number}")).is_ok());
    }

    #[test]
    fn a_process_that_has_exited_is_not_detected() {
        let is_alone_after_a_fork = |mut descendants: Descendants| {
            assert_eq!(Forked::asks(|| true).status(), Some(0));
            !descendants.exist()
        };
        assert!((0..100).any(|_| is_alone_after_a_fork(childless())));
    }

    #[test]
    fn descendants_are_assumed_if_they_cannot_be_detected() {
        let mut descendants = Descendants::Exist(None);
        assert!(descendants.exist());
    }
}
