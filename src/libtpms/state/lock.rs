// SPDX-License-Identifier: BSD-2-Clause
//! A lock on a file, which one process has. It is one of fcntl(2): it ends with its process, also when a forked process
//! has the same descriptor, which would keep one of flock(2). The price: it ends, too, when another thread of the program
//! opens and closes that very file in the middle of a command.
#![forbid(unsafe_code)]

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::thread::sleep;
use std::time::Duration;
use tcti_core::Deadline;

/// Pauses between two looks at a lock: one command takes less than the first, and one that restarts the TPM for what
/// another process did less than the last.
const PAUSES: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];

/// Waits until no other process has the lock; `TimedOut` when one still has it then.
///
/// Linux waits for a lock for ever or not at all, and only a signal ends that; so this looks again and again. What was tried
/// instead: inotify(7) tells of the last write of whoever has the lock, but that is before the lock ends, and closing its
/// descriptor takes tens of milliseconds. A futex in the file needs it mapped, and who makes the file shorter kills whoever
/// has it mapped.
pub(super) fn wait(file: &File, patience: Duration) -> io::Result<()> {
    if !is_anothers(file)? {
        return Ok(());
    }
    let (deadline, [mut pause, longest]) = (Deadline::within(patience), PAUSES);
    while is_anothers(file)? {
        if deadline.has_passed() {
            return Err(ErrorKind::TimedOut.into());
        }
        sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
        pause = longest.min(pause * 2);
    }
    Ok(())
}

/// Takes the lock, unless another process has it.
pub(super) fn is_anothers(file: &File) -> io::Result<bool> {
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
        locked => Ok(locked.map(|()| false)?),
    }
}

/// Ends our lock.
pub(super) fn end(file: &File) {
    let _ = fcntl_lock(file, FlockOperation::Unlock);
}

#[cfg(test)]
pub(super) mod tests;
