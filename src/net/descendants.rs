// SPDX-License-Identifier: BSD-2-Clause
//! Whether another process was forked that has what this one has ([`Descendants`]): a server that serves one connection at a
//! time serves none of them while this process keeps a connection that they do not have.
#![forbid(unsafe_code)]

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use tcti_core::io::{above_stdio, file_in_memory};
use tcti_core::transport::Inheritance;

/// What tells. A lock of flock(2) belongs to the open file, of which a forked process has a descriptor, too, and ends with
/// the last of them.
#[derive(Debug)]
pub(super) enum Descendants {
    /// Nobody has asked yet, and there are none that would be kept waiting.
    Unasked,
    /// There are none, unless this file, which is locked, is open elsewhere.
    Watched(File),
    /// There are, or may be. A forked process holds the file that another one watches, as long as it has the context.
    Some(Option<File>),
}

impl Descendants {
    /// Whether there may be any. The answer is no the first time, and for good once it is yes.
    pub(super) fn exist(&mut self) -> bool {
        let first = matches!(self, Descendants::Unasked);
        let watched = match mem::replace(self, Descendants::Some(None)) {
            Descendants::Unasked => file_in_memory(c"tcti-descendants").map(File::from).and_then(lock),
            Descendants::Watched(file) => alone(file),
            held @ Descendants::Some(_) => {
                *self = held;
                return true;
            }
        };
        if let Ok(file) = watched {
            *self = Descendants::Watched(file);
        }
        !first && matches!(self, Descendants::Some(_))
    }

    /// This process was forked, and has some: the one that it was forked from.
    pub(super) fn after_fork(&mut self, inheritance: Inheritance) {
        let held = match mem::replace(self, Descendants::Some(None)) {
            Descendants::Watched(file) | Descendants::Some(Some(file)) => Some(file),
            Descendants::Unasked | Descendants::Some(None) => None,
        };
        match inheritance {
            Inheritance::Shared | Inheritance::Copies => *self = Descendants::Some(held),
            Inheritance::Nothing => mem::forget(held), // its number may be that of another file
        }
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
    use tcti_core::testing::{Forked, ForkedChild};

    /// There are none, not even processes that another test has forked in between.
    fn without() -> Descendants {
        loop {
            let mut descendants = Descendants::Unasked;
            assert!(!descendants.exist());
            if !descendants.exist() {
                return descendants;
            }
        }
    }

    #[test]
    fn there_are_none_until_a_process_is_forked_and_then_there_are_for_good() {
        let mut descendants = without();
        let heir = ForkedChild::idle();
        assert!(descendants.exist());
        heir.end();
        assert!(descendants.exist());
    }

    #[test]
    fn a_process_that_uses_what_it_has_is_one_until_it_ends() {
        let mut descendants = without();
        let heir = ForkedChild::after(|| {
            descendants.after_fork(Inheritance::Shared);
            assert!(descendants.exist());
        });
        assert!(descendants.exist());
        heir.end();
    }

    #[test]
    fn what_the_host_has_closed_is_not_closed_again() {
        let mut descendants = without();
        let Descendants::Watched(file) = &descendants else { panic!("{descendants:?}") };
        let number = file.as_raw_fd();
        descendants.after_fork(Inheritance::Nothing);
        assert!(descendants.exist());
        assert!(File::open(format!("/proc/self/fd/{number}")).is_ok());
    }

    #[test]
    fn a_process_that_has_ended_is_none() {
        let ends = |mut descendants: Descendants| {
            assert_eq!(Forked::asks(|| true).status(), Some(0));
            !descendants.exist()
        };
        assert!((0..100).any(|_| ends(without())));
    }

    #[test]
    fn who_cannot_tell_has_some() {
        let mut descendants = Descendants::Some(None);
        assert!(descendants.exist());
    }
}
