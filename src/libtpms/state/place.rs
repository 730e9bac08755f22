// SPDX-License-Identifier: BSD-2-Clause
//! A file of our own, in a directory that may be somebody else's, for one process at a time: [`Place::lock`]. The path is
//! resolved once, to a descriptor of its directory, with the links on it. The file itself has to be ours, and no link: who
//! can put one there could have root write to any file of root's.
#![forbid(unsafe_code)]

use super::kept::{Kept, look};
use super::lock;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, fchmod, fsync, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for other processes, each of which has the file for one command.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same if other users can read the file, and so can lock it.
const LITTLE_PATIENCE: Duration = Duration::from_secs(1);
/// How often somebody may put something else in the place of what was just seen there.
const ROUNDS: u32 = 10_000;
/// The rights of other users.
const OTHERS: u16 = 0o077;

/// The file of a path.
pub(super) struct Place {
    path: PathBuf,
    dir: Option<Kept>,
    file: Option<Kept>,
}

impl Drop for Place {
    fn drop(&mut self) {
        [self.file.take(), self.dir.take()].into_iter().flatten().for_each(Kept::close);
    }
}

impl Place {
    /// Nothing is opened yet.
    pub(super) fn new(path: PathBuf) -> Place {
        Place { path, dir: None, file: None }
    }

    /// Locks the file, making an empty one, mode 0600, if there is none.
    pub(super) fn lock(&mut self) -> io::Result<Held<'_>> {
        self.lock_by(lock::wait)
    }

    fn lock_by(&mut self, wait: impl Fn(&File, Duration) -> io::Result<()>) -> io::Result<Held<'_>> {
        let mut rounds = 0..ROUNDS;
        let mut made = false;
        let size = loop {
            if self.file.is_none() {
                made = self.open(&mut rounds)?;
            }
            match self.lock_what_is_open(&wait).inspect_err(|_| self.tidy(made))? {
                Some(size) => break size,
                None if rounds.next().is_none() => return Err(Errno::BUSY.into()),
                None => self.file.take().into_iter().for_each(Kept::close),
            }
        };
        let Some(kept) = &self.file else { return Err(Errno::BADF.into()) };
        Ok(Held { place: self, file: &kept.file, size, made })
    }

    /// The size of the file; `None` if it has no name any more, or the program closed it.
    fn lock_what_is_open(&self, wait: impl Fn(&File, Duration) -> io::Result<()>) -> io::Result<Option<u64>> {
        let Some((kept, seen)) = self.file.as_ref().and_then(|kept| Some((kept, kept.look()?))) else {
            return Ok(None);
        };
        let is_private = seen.stx_mode & OTHERS == 0;
        let (patience, advice) = match is_private {
            true => (PATIENCE, ""),
            false => (LITTLE_PATIENCE, ". Other users can read it, and so lock it: chmod 600"),
        };
        wait(&kept.file, patience).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => in_use(patience, advice),
            _ => error,
        })?;
        // Whoever had it before may have removed it.
        let Some(seen) = kept.look().filter(|seen| seen.stx_nlink > 0) else {
            lock::end(&kept.file);
            return Ok(None);
        };
        if !is_private {
            let _ = fchmod(&kept.file, Mode::RUSR | Mode::WUSR); // not every file system has modes
        }
        Ok(Some(seen.stx_size))
    }

    /// Opens what is at the path, and tells whether it was made.
    fn open(&mut self, rounds: &mut impl Iterator) -> io::Result<bool> {
        let name = self.path.file_name().ok_or_else(|| io::Error::other("it is a directory"))?.to_owned();
        loop {
            let dir = self.directory()?;
            let is_new = match look(&dir.file, &name) {
                Ok(seen) => check(&seen).map(|()| false)?,
                Err(error) if error.kind() == ErrorKind::NotFound => true,
                Err(error) => return Err(error),
            };
            // It is made by the same call that opens it, so that the kernel's rules for public directories hold
            // (fs.protected_regular, fs.protected_symlinks).
            let mut how = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
            how |= OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY; // no other kind of file does any harm
            how.set(OFlags::EXCL, is_new);
            match openat(&dir.file, &name, how, Mode::RUSR | Mode::WUSR) {
                // Somebody made it, or put something else there, at that moment.
                Err(Errno::EXIST | Errno::LOOP) if rounds.next().is_some() => {}
                Err(Errno::EXIST | Errno::LOOP) => return Err(Errno::BUSY.into()),
                opened => {
                    let (kept, seen) = Kept::new(opened?)?;
                    check(&seen)?;
                    self.file = Some(kept);
                    return Ok(is_new);
                }
            }
        }
    }

    /// The directory, resolved when it is first asked for, or when the program has closed it.
    fn directory(&mut self) -> io::Result<&Kept> {
        if self.dir.as_ref().is_none_or(|dir| dir.look().is_none()) {
            let parent = self.path.parent().unwrap_or(Path::new("/"));
            let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let (dir, _) = Kept::new(openat(CWD, parent, how, Mode::empty())?)?;
            if let Some(closed) = self.dir.replace(dir) {
                closed.close()
            }
        }
        self.dir.as_ref().ok_or_else(|| Errno::BADF.into())
    }

    /// What is at the path.
    fn look(&self) -> io::Result<Statx> {
        let (dir, name) = self.dir.as_ref().zip(self.path.file_name()).ok_or(Errno::BADF)?;
        look(&dir.file, name)
    }

    /// Removes a file that we made and in which nothing is, unless another process was faster to lock it.
    fn tidy(&self, made: bool) {
        let (Some(dir), Some(kept), Some(name)) = (&self.dir, &self.file, self.path.file_name()) else { return };
        if made
            && !lock::is_anothers(&kept.file).unwrap_or(false)
            && self.look().is_ok_and(|seen| kept.is(&seen) && seen.stx_size == 0)
        {
            let _ = unlinkat(&dir.file, name, AtFlags::empty());
        }
    }
}

/// What is not a regular file of the user whose rights we have is nothing to us.
fn check(seen: &Statx) -> io::Result<()> {
    let kind = match FileType::from_raw_mode(seen.stx_mode.into()) {
        FileType::RegularFile if seen.stx_uid == geteuid().as_raw() => return Ok(()),
        FileType::RegularFile => {
            let whose = format!("it belongs to uid {}, and we are uid {}", seen.stx_uid, geteuid().as_raw());
            return Err(io::Error::new(ErrorKind::PermissionDenied, whose));
        }
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Err(io::Error::other(format!("it is {kind}, not a regular file")))
}

fn in_use(patience: Duration, more: &str) -> io::Error {
    let text = format!("is in use by another process, still after {} s{more}", patience.as_secs());
    io::Error::new(ErrorKind::TimedOut, text)
}

/// The file while no other process can touch it. The lock ends with it.
pub(super) struct Held<'a> {
    place: &'a Place,
    pub(super) file: &'a File,
    /// When we got it.
    pub(super) size: u64,
    made: bool,
}

impl Held<'_> {
    /// Whether it has a name still.
    pub(super) fn is_there(&self) -> bool {
        self.place.file.as_ref().and_then(Kept::look).is_some_and(|seen| seen.stx_nlink > 0)
    }

    /// Has a new name survive a power cut, which is more than some file systems can.
    pub(super) fn sync_name(&self) {
        if let (true, Some(dir)) = (self.made, &self.place.dir) {
            let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let _ = openat(&dir.file, ".", how, Mode::empty()).map(fsync);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.place.tidy(self.made);
        lock::end(self.file);
    }
}

#[cfg(test)]
mod tests;
