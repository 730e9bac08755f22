// SPDX-License-Identifier: BSD-2-Clause
//! A file of the current user for one process at a time, in a directory that may belong to others:
//! [`StateLocation::lock`]. The path of the directory is resolved once, following links, to a file descriptor. The file
//! itself must be a regular file of this user: whoever could place a link there could have root write to any file of root.
#![forbid(unsafe_code)]

use super::lock;
use super::open_file::{OpenFile, status};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod};
use nix::unistd::{UnlinkatFlags, fsync, geteuid, unlinkat};
use rustix::fs::Statx;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for other processes, each of which holds the lock for one command.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// The same if other users can read the file, and so can lock it.
const PUBLIC_LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often another process may replace or remove the file between two steps here before that is an error.
const MAX_RACES: u32 = 10_000;
/// The permissions of group and others.
const GROUP_AND_OTHERS: u16 = 0o077;

/// A path, and what is open there.
pub(super) struct StateLocation {
    path: PathBuf,
    dir: Option<OpenFile>,
    file: Option<OpenFile>,
}

impl Drop for StateLocation {
    fn drop(&mut self) {
        [self.file.take(), self.dir.take()].into_iter().flatten().for_each(OpenFile::close);
    }
}

impl StateLocation {
    /// Opens nothing yet.
    pub(super) fn new(path: PathBuf) -> StateLocation {
        StateLocation { path, dir: None, file: None }
    }

    /// Locks the file, and creates an empty one, mode 0600, if it does not exist.
    pub(super) fn lock(&mut self) -> io::Result<LockedFile<'_>> {
        self.lock_with(lock::wait)
    }

    fn lock_with(&mut self, wait: impl Fn(&File, Duration) -> io::Result<()>) -> io::Result<LockedFile<'_>> {
        let mut races = 0..MAX_RACES;
        let mut created = false;
        let size = loop {
            if self.file.is_none() {
                created = self.open(&mut races)?;
            }
            match self.lock_open_file(&wait).inspect_err(|_| self.remove_if_empty(created))? {
                Some(size) => break size,
                None if races.next().is_none() => return Err(Errno::EBUSY.into()),
                None => self.file.take().into_iter().for_each(OpenFile::close),
            }
        };
        let Some(open) = &self.file else { return Err(Errno::EBADF.into()) };
        Ok(LockedFile { location: self, file: &open.file, size, created })
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
        wait(&open.file, timeout).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => in_use(timeout, advice),
            _ => error,
        })?;
        // The process that held the lock may have removed the file.
        let Some(status) = open.status().filter(|status| status.stx_nlink > 0) else {
            lock::unlock(&open.file);
            return Ok(None);
        };
        if !is_private {
            let _ = fchmod(&open.file, Mode::S_IRUSR | Mode::S_IWUSR); // not every file system has modes
        }
        Ok(Some(status.stx_size))
    }

    /// Opens the file at the path. Returns whether it was created.
    fn open(&mut self, races: &mut impl Iterator) -> io::Result<bool> {
        let name = self.path.file_name().ok_or_else(|| io::Error::other("it is a directory"))?.to_owned();
        loop {
            let dir = self.directory()?;
            let is_new = match status(&dir.file, &name) {
                Ok(status) => check(&status).map(|()| false)?,
                Err(error) if error.kind() == ErrorKind::NotFound => true,
                Err(error) => return Err(error),
            };
            // Opened with O_CREAT in any case, so that the kernel's rules for public directories apply
            // (fs.protected_regular, fs.protected_symlinks).
            let mut flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_LARGEFILE;
            flags |= OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY; // harmless if it is another kind of file
            flags.set(OFlag::O_EXCL, is_new);
            match openat(&dir.file, name.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
                // Another process has just created, replaced or linked it.
                Err(Errno::EEXIST | Errno::ELOOP) if races.next().is_some() => {}
                Err(Errno::EEXIST | Errno::ELOOP) => return Err(Errno::EBUSY.into()),
                opened => {
                    let (open, status) = OpenFile::new(opened?)?;
                    check(&status)?;
                    self.file = Some(open);
                    return Ok(is_new);
                }
            }
        }
    }

    /// Returns the directory. Its path is resolved at the first call, and again if the program has closed it.
    fn directory(&mut self) -> io::Result<&OpenFile> {
        if self.dir.as_ref().is_none_or(|dir| dir.status().is_none()) {
            let parent = self.path.parent().unwrap_or(Path::new("/"));
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let (dir, _) = OpenFile::new(openat(AT_FDCWD, parent, flags, Mode::empty())?)?;
            if let Some(closed) = self.dir.replace(dir) {
                closed.close()
            }
        }
        self.dir.as_ref().ok_or_else(|| Errno::EBADF.into())
    }

    /// Returns the status of the file at the path.
    fn status(&self) -> io::Result<Statx> {
        let (dir, name) = self.dir.as_ref().zip(self.path.file_name()).ok_or(Errno::EBADF)?;
        status(&dir.file, name)
    }

    /// Removes a file that we created if it is still empty, unless another process has locked it.
    fn remove_if_empty(&self, created: bool) {
        let (Some(dir), Some(open), Some(name)) = (&self.dir, &self.file, self.path.file_name()) else { return };
        if created
            && lock::try_lock(&open.file).unwrap_or(true)
            && self.status().is_ok_and(|status| open.is(&status) && status.stx_size == 0)
        {
            let _ = unlinkat(&dir.file, name, UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Fails unless this is a regular file of the effective user.
fn check(status: &Statx) -> io::Result<()> {
    let kind = match SFlag::from_bits_truncate(u32::from(status.stx_mode) & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG if status.stx_uid == geteuid().as_raw() => return Ok(()),
        SFlag::S_IFREG => {
            let whose =
                format!("it is owned by uid {}, but this process runs as uid {}", status.stx_uid, geteuid().as_raw());
            return Err(io::Error::new(ErrorKind::PermissionDenied, whose));
        }
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFIFO => "a pipe",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    };
    Err(io::Error::other(format!("it is {kind}, not a regular file")))
}

fn in_use(timeout: Duration, advice: &str) -> io::Error {
    let text = format!("is in use by another process, still after {} s{advice}", timeout.as_secs());
    io::Error::new(ErrorKind::TimedOut, text)
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
        self.location.file.as_ref().and_then(OpenFile::status).is_some_and(|status| status.stx_nlink > 0)
    }

    /// Makes the name of a created file survive a power failure, on file systems that can.
    pub(super) fn sync_name(&self) {
        if let (true, Some(dir)) = (self.created, &self.location.dir) {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let _ = openat(&dir.file, ".", flags, Mode::empty()).map(fsync);
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
