// SPDX-License-Identifier: BSD-2-Clause
//! A file of the current user for one process at a time, in a directory that may belong to others:
//! [`StateLocation::lock`]. `tcti_core::own_file` opens it.
#![forbid(unsafe_code)]

use super::lock;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use rustix::fs::Statx;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;
use tcti_core::kept::Kept;
use tcti_core::own_file::{self, Accepts};

/// How long to wait for other processes, each of which holds the lock for one command.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// The same if other users can read the file, and so can lock it.
const PUBLIC_LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often other processes may remove the file between two steps here before that is an error.
const MAX_RACES: u32 = 10_000;
/// The permissions of its owner.
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);
/// The permissions of group and others.
const GROUP_AND_OTHERS: u16 = 0o077;

/// A path, and what is open there.
pub(super) struct StateLocation {
    path: CString,
    dir: Option<Kept<File>>,
    file: Option<Kept<File>>,
}

impl StateLocation {
    /// Opens nothing yet.
    pub(super) fn new(path: &Path) -> StateLocation {
        // A configuration string has no NUL; an empty path does not open.
        let path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
        StateLocation { path, dir: None, file: None }
    }

    /// Locks the file, and creates an empty one, mode 0600, if it does not exist.
    pub(super) fn lock(&mut self) -> io::Result<LockedFile<'_>> {
        self.lock_with(lock::wait)
    }

    fn lock_with(&mut self, wait: impl Fn(&File, Duration) -> io::Result<()>) -> io::Result<LockedFile<'_>> {
        let (mut races, mut created) = (0..MAX_RACES, false);
        let size = loop {
            if self.file.is_none() {
                created = self.open()?;
            }
            match self.lock_open_file(&wait).inspect_err(|_| self.remove_if_empty(created))? {
                Some(size) => break size,
                None if races.next().is_none() => return Err(Errno::EBUSY.into()),
                None => self.file = None,
            }
        };
        let Some(open) = &self.file else { return Err(Errno::EBADF.into()) };
        Ok(LockedFile { location: self, file: open, size, created })
    }

    /// Locks the open file and returns its size in bytes; `None` if it was removed, or the program has closed it.
    fn lock_open_file(&self, wait: impl Fn(&File, Duration) -> io::Result<()>) -> io::Result<Option<u64>> {
        let Some((open, status)) = self.file.as_ref().and_then(|open| Some((open, open.status()?))) else {
            return Ok(None);
        };
        let is_private = status.stx_mode & GROUP_AND_OTHERS == 0;
        let (timeout, advice) = match is_private {
            true => (LOCK_TIMEOUT, ""),
            false => (PUBLIC_LOCK_TIMEOUT, ". Other users can read it, and so lock it: chmod 600"),
        };
        wait(open, timeout).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => {
                in_use(&format!("in use by another process, still after {} s", timeout.as_secs()), advice)
            }
            ErrorKind::WouldBlock => in_use("locked by a program that only reads it; lslocks names it", advice),
            _ => error,
        })?;
        // The process that held the lock may have removed the file.
        let Some(status) = open.status().filter(|status| status.stx_nlink > 0) else {
            lock::unlock(open);
            return Ok(None);
        };
        if !is_private {
            let _ = fchmod(open, PRIVATE); // not every file system has modes
        }
        Ok(Some(status.stx_size))
    }

    /// Opens the file at the path. Returns whether it was created.
    fn open(&mut self) -> io::Result<bool> {
        // The path is resolved at the first call, and again if the program has closed the directory.
        if self.dir.as_ref().is_none_or(|dir| dir.get().is_none()) {
            self.dir = Some(Kept::file(own_file::directory(AT_FDCWD, &self.path)?)?);
        }
        let dir = self.dir.as_ref().ok_or(Errno::EBADF)?;
        let name = own_file::name(&self.path);
        let name = name.ok_or_else(|| io::Error::other("it is a directory, not a regular file"))?;
        let (fd, created) = own_file::open_in(dir.as_fd(), name, OFlag::O_RDWR, PRIVATE, Accepts::File)?;
        self.file = Some(Kept::file(fd)?);
        Ok(created)
    }

    /// Removes a file that we created if it is still empty, unless another process has locked it.
    fn remove_if_empty(&self, created: bool) {
        let (Some(dir), Some(open), Some(name)) = (&self.dir, &self.file, own_file::name(&self.path)) else { return };
        let is_empty = |status: &Statx| open.is(status) && status.stx_size == 0;
        if created
            && lock::try_lock(open).unwrap_or(true)
            && own_file::status(dir, name).is_ok_and(|status| is_empty(&status))
        {
            let _ = unlinkat(dir, name, UnlinkatFlags::NoRemoveDir);
        }
    }
}

fn in_use(how: &str, advice: &str) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("is {how}{advice}"))
}

/// The file, locked until this is dropped.
pub(super) struct LockedFile<'a> {
    location: &'a StateLocation,
    pub(super) file: &'a File,
    /// In bytes, when it was locked.
    pub(super) size: u64,
    created: bool,
}

impl LockedFile<'_> {
    /// Returns whether the file still has a name.
    pub(super) fn exists(&self) -> bool {
        self.location.file.as_ref().and_then(|open| open.status()).is_some_and(|status| status.stx_nlink > 0)
    }

    /// Makes the name of a created file survive a power failure, on file systems that can.
    pub(super) fn sync_name(&self) {
        if let (true, Some(dir)) = (self.created, &self.location.dir) {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let _ = openat(dir, ".", flags, Mode::empty()).map(fsync);
        }
    }
}

impl Drop for LockedFile<'_> {
    fn drop(&mut self) {
        self.location.remove_if_empty(self.created);
        lock::unlock(self.file);
    }
}

#[cfg(test)]
mod tests;
