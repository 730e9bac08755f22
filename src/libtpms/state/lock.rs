// SPDX-License-Identifier: BSD-2-Clause
//! An exclusive lock on a whole file, held by one process: [`wait`]. It is a record lock of fcntl(2), which ends with its
//! process even if a forked process has the same file descriptor; a lock of flock(2) would not. Its drawback: it also ends
//! when another thread of the program opens and closes that very file during a command.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_RDLCK, F_UNLCK, F_WRLCK, SEEK_SET, c_int, flock};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::thread::sleep;
use std::time::Duration;
use tcti_core::Deadline;

/// The first and the longest pause between two attempts: a command takes less than the first, and a command that restarts
/// the TPM because of another process takes less than the longest.
const PAUSES: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];

/// Takes the lock, and waits while another process holds it; `TimedOut` after `timeout`. A lock for reading is never one of
/// ours: another user who may read the file can hold it forever, so that is `WouldBlock` at once.
///
/// Linux waits for a lock forever or not at all, and only a signal interrupts that; so this retries. Alternatives that were
/// tried: inotify(7) reports the last write of the process that holds the lock, but that is before the lock ends, and
/// closing its file descriptor takes tens of milliseconds. A futex in the file needs a mapping, and whoever truncates the
/// file kills the processes that map it.
pub(super) fn wait(file: &File, timeout: Duration) -> io::Result<()> {
    if try_lock(file)? {
        return Ok(()); // without reading the clock
    }
    let (deadline, [mut pause, longest]) = (Deadline::within(timeout), PAUSES);
    while !try_lock(file)? {
        if deadline.has_passed() {
            return Err(ErrorKind::TimedOut.into());
        }
        let mut held = whole(F_WRLCK);
        fcntl(file, FcntlArg::F_GETLK(&mut held))?;
        if c_int::from(held.l_type) == F_RDLCK {
            return Err(ErrorKind::WouldBlock.into());
        }
        sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
        pause = longest.min(pause * 2);
    }
    Ok(())
}

/// Takes the lock without waiting. Returns `false` if another process holds it.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_SETLK(&whole(F_WRLCK))) {
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        locked => Ok(locked.map(|_| true)?),
    }
}

/// Releases the lock of this process.
pub(super) fn unlock(file: &File) {
    let _ = fcntl(file, FcntlArg::F_SETLK(&whole(F_UNLCK)));
}

/// Describes a lock of the whole file. The fields are narrower than the constants of C.
fn whole(kind: c_int) -> flock {
    flock { l_type: kind as _, l_whence: SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 }
}

#[cfg(test)]
pub(super) mod tests;
