// SPDX-License-Identifier: BSD-2-Clause
//! A lock on a file, which one process has. It is one of fcntl(2): it ends with its process, also when a forked process
//! has the same descriptor, which would keep one of flock(2). The price: it ends, too, when another thread of the program
//! opens and closes that very file in the middle of a command.
#![forbid(unsafe_code)]

use nix::poll::PollFlags;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::{Errno, read};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;
use tcti_core::Deadline;
use tcti_core::io::{above_stdio, wait_for};

/// Whether time went by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    No,
    Yes,
}

/// Waits until no other process has the lock; `TimedOut` when one still has it then. The system waits for a lock for ever
/// or not at all, and only a signal ends that. But whoever has it writes to the file before the end, or is killed and so
/// closes it, and inotify(7) tells of both.
pub(super) fn wait(file: &File, deadline: &Deadline) -> io::Result<Waited> {
    let mut changes = None;
    loop {
        match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN | Errno::ACCESS) if deadline.has_passed() => return Err(ErrorKind::TimedOut.into()),
            Err(Errno::AGAIN | Errno::ACCESS) => match &mut changes {
                None => changes = Some(Changes::of(file)), // then once more: it may have happened before
                Some(changes) => changes.wait(deadline),
            },
            locked => {
                return locked
                    .map(|()| if changes.is_none() { Waited::No } else { Waited::Yes })
                    .map_err(io::Error::from);
            }
        }
    }
}

/// Whether another process has the lock.
pub(super) fn is_anothers(file: &File) -> bool {
    matches!(fcntl_lock(file, FlockOperation::NonBlockingLockExclusive), Err(Errno::AGAIN | Errno::ACCESS))
}

/// Ends our lock.
pub(super) fn end(file: &File) {
    let _ = fcntl_lock(file, FlockOperation::Unlock);
}

/// Tells when a process writes to a file or closes it. Without inotify, or on a file system that is not only this
/// machine's, time has to do.
struct Changes(Option<OwnedFd>);

impl Changes {
    fn of(file: &File) -> Changes {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let changes = changes
            .ok()
            .and_then(|changes| above_stdio(changes).ok())
            .filter(|changes| inotify::add_watch(changes, &path, WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE).is_ok());
        Changes(changes)
    }

    fn wait(&mut self, deadline: &Deadline) {
        const SLICE: Duration = Duration::from_millis(10);
        let slice = deadline.remaining().map_or(SLICE, |left| left.min(SLICE));
        match &self.0 {
            None => std::thread::sleep(slice),
            Some(changes) => {
                let _ = wait_for(changes.as_fd(), PollFlags::POLLIN, &Deadline::within(slice));
                while read(changes, &mut [0; 4096]).is_ok() {}
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
