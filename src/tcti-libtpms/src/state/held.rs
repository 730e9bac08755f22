// SPDX-License-Identifier: BSD-2-Clause
//! A file that one process at a time has: [`Held::take`]. Whoever removes or replaces what is at a path holds the lock of
//! it; so what is held stays at its path, unless somebody who does not know the lock takes it away.
#![forbid(unsafe_code)]

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, Metadata, OpenOptions, remove_file};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;
use tcti_core::Deadline;
use tcti_core::io::above_stdio;

/// A file while no other process can touch it. The lock ends with it.
pub(super) struct Held<'a> {
    pub(super) path: &'a Path,
    pub(super) file: File,
    /// As it was when we got it.
    pub(super) metadata: Metadata,
    /// Whether we made the file, and nothing is in it yet.
    pub(super) made: bool,
}

/// A file that we made and did not fill is of no use to anybody, unless another process was faster to lock it. The lock
/// ends here, and not with the last descriptor: a clone of it stays open, and a process that was forked meanwhile has one.
impl Drop for Held<'_> {
    fn drop(&mut self) {
        let others =
            || flock(&self.file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK);
        if self.made && !others() && self.is_at_its_path() {
            let _ = remove_file(self.path);
        }
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Held<'_> {
    /// Locks what is at the path, making an empty file, mode 0600, when there is nothing. `flags` are more of open(2).
    /// `TimedOut` when another process still has it after the deadline.
    pub(super) fn take<'a>(path: &'a Path, flags: i32, deadline: &Deadline) -> io::Result<Held<'a>> {
        Held::take_by(path, flags, deadline, wait_for_lock)
    }

    pub(super) fn take_by<'a>(
        path: &'a Path,
        flags: i32,
        deadline: &Deadline,
        wait: impl Fn(&File, &Deadline) -> io::Result<()>,
    ) -> io::Result<Held<'a>> {
        loop {
            if let Some(mut held) = Held::open(path, flags)? {
                wait(&held.file, deadline)?;
                held.metadata = held.file.metadata()?;
                // Who had the lock may have replaced the file since we opened it.
                if held.is_at_its_path() {
                    return Ok(held);
                }
            }
            if deadline.has_passed() {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    /// `None` when another process made or removed the file at that moment.
    fn open(path: &Path, flags: i32) -> io::Result<Option<Held<'_>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK | flags);
        let (file, made) = match options.open(path) {
            Err(missing) if missing.kind() == ErrorKind::NotFound => {
                match options.create_new(true).mode(0o600).open(path) {
                    // There is a link, which leads nowhere.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_symlink() => return Err(missing),
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
                    made => (made?, true),
                }
            }
            opened => (opened?, false),
        };
        let file = File::from(above_stdio(OwnedFd::from(file))?);
        let metadata = file.metadata()?;
        match metadata.is_file() {
            true => Ok(Some(Held { path, file, metadata, made })),
            false => Err(io::Error::other("not a regular file")),
        }
    }

    /// Whether this is the file that others find there.
    pub(super) fn is_at_its_path(&self) -> bool {
        let ours = (self.metadata.dev(), self.metadata.ino());
        std::fs::metadata(self.path).is_ok_and(|now| (now.dev(), now.ino()) == ours)
    }
}

/// Waits for the lock. flock(2) knows no time-out, so this asks again, less and less often.
fn wait_for_lock(file: &File, deadline: &Deadline) -> io::Result<()> {
    let mut pause = Duration::from_micros(100);
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if deadline.has_passed() => return Err(ErrorKind::TimedOut.into()),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(pause),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_file_that_cannot_be_locked_is_not_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let no_locks = |_: &File, _: &Deadline| Err(rustix::io::Errno::NOLCK.into());
        let error = Held::take_by(&path, 0, &Deadline::Never, no_locks).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::ENOLCK));
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_another_was_faster_to_lock_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let faster = Cell::new(None);
        let late = |_: &File, _: &Deadline| {
            faster.set(Some(Held::take(&path, 0, &Deadline::Now).unwrap()));
            Err(ErrorKind::TimedOut.into())
        };
        assert!(Held::take_by(&path, 0, &Deadline::Now, late).is_err());
        assert!(faster.take().unwrap().is_at_its_path());
    }

    #[test]
    fn a_file_that_is_never_the_one_at_its_path_is_given_up_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let rounds = Cell::new(0);
        let replaced = |_: &File, _: &Deadline| {
            rounds.set(rounds.get() + 1);
            assert!(rounds.get() < 3, "it does not end");
            remove_file(&path)
        };
        let error = Held::take_by(&path, 0, &Deadline::Now, replaced).err().unwrap();
        assert_eq!((error.kind(), rounds.get()), (ErrorKind::TimedOut, 1));
    }

    #[test]
    fn a_file_of_another_in_the_same_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let made = Held::take(&path, 0, &Deadline::Now).unwrap();
        remove_file(&path).unwrap();
        std::fs::write(&path, "theirs").unwrap();
        drop(made);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
    }

    #[test]
    fn who_has_a_file_has_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let held = Held::take(&path, 0, &Deadline::Now).unwrap();
        assert_eq!(Held::take(&path, 0, &Deadline::Now).err().unwrap().kind(), ErrorKind::TimedOut);
        assert!(held.is_at_its_path());
        drop(held);
        assert!(!path.exists());
    }
}
