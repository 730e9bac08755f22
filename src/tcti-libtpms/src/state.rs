// SPDX-License-Identifier: BSD-2-Clause
//! The state file: BE32 length, permanent state, BE32 length, volatile state. It is the TPM; what a process holds is a
//! copy. Each command locks the file, so that several processes may use it in turn, and replaces it as a whole, so that
//! a process killed at any moment leaves the last consistent state.
#![forbid(unsafe_code)]

use crate::sys::{Blobs, copy};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, fchown, geteuid};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, Metadata, OpenOptions, canonicalize, remove_file, rename};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tcti_core::io::{above_stdio, write_all};
use tcti_core::{Deadline, Rc, Result, diagnosis, fail};

/// Largest state file we read, in bytes. That of libtpms 0.9 is some 100 KiB with all its NV memory in use.
const MAX_SIZE: u64 = 16 << 20;

/// How long to wait for other processes, each of which holds the file for one command.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// A state file, and which state of it we know.
pub(crate) struct StateFile {
    path: PathBuf,
    known: Option<Known>,
}

/// The file that we wrote or read last, as it was then.
struct Known {
    /// Held open, so that its inode number is given to no other file.
    _file: File,
    stamp: Stamp,
}

/// Tells a file from another, and from itself after a change: device, inode, size and time of the last change.
#[derive(PartialEq, Eq)]
struct Stamp(u64, u64, u64, i64, i64);

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp(metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
    }
}

/// What a file tells who knows an earlier state of it, or none.
#[derive(PartialEq, Eq)]
pub(crate) enum News {
    /// It is as known.
    None,
    /// Another state; empty blobs for an empty file, which is a new TPM.
    State(Blobs),
    /// The file was removed or emptied. It is made anew from what this process holds, and other processes may have gone on
    /// from there.
    Removed,
}

/// The state file while no other process can touch it. The lock ends with it.
pub(crate) struct Locked<'a> {
    state: &'a mut StateFile,
    file: File,
    metadata: Metadata,
    /// Whether locking made the file, and nothing is in it yet.
    made: bool,
}

/// A file that we made and did not fill is of no use to anybody. The lock ends here, and not with the last descriptor: a
/// clone of it stays open, and a process that was forked meanwhile has one.
impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.made {
            let _ = remove_file(&self.state.path);
        }
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl StateFile {
    /// Any path; nothing is opened yet.
    pub(crate) fn new(path: &Path) -> StateFile {
        StateFile { path: path.to_owned(), known: None }
    }

    /// Locks the file, making an empty one, mode 0600, when there is none.
    pub(crate) fn lock(&mut self) -> Result<Locked<'_>> {
        let deadline = Deadline::within(LOCK_TIMEOUT);
        loop {
            let (file, made) = self.open().map_err(|error| self.failed("open", &self.path, &error))?;
            wait_for_lock(&file, &deadline).map_err(|error| match error.kind() {
                ErrorKind::TimedOut => fail!(
                    Rc::IO_ERROR,
                    "the TPM state file {} is in use by another process, still after {} s",
                    self.path.display(),
                    LOCK_TIMEOUT.as_secs()
                ),
                _ => self.failed("lock", &self.path, &error),
            })?;
            let metadata = file.metadata().map_err(|error| self.failed("look at", &self.path, &error))?;
            if !metadata.is_file() {
                return Err(fail!(Rc::IO_ERROR, "the TPM state file {} is not a regular file", self.path.display()));
            }
            // Who held the lock has replaced the file since we opened it.
            if std::fs::metadata(&self.path).is_ok_and(|now| same(&now, &metadata)) {
                return Ok(Locked { state: self, file, metadata, made });
            }
        }
    }

    /// The file, and whether it was made.
    fn open(&self) -> io::Result<(File, bool)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
        loop {
            let missing = match options.open(&self.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => error,
                opened => return Ok((keep_off_stdio(opened?)?, false)),
            };
            match options.clone().create_new(true).mode(0o600).open(&self.path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => return Ok((keep_off_stdio(made?)?, true)),
            }
            // Another process has made it meanwhile; or there is a link, which leads nowhere.
            if self.path.is_symlink() {
                return Err(missing);
            }
        }
    }

    fn failed(&self, what: &str, path: &Path, error: &io::Error) -> Rc {
        let errno = error.raw_os_error().map(Errno::from_raw);
        let code = match errno {
            Some(errno) if diagnosis::is_denial(errno) => Rc::NOT_PERMITTED,
            _ => Rc::IO_ERROR,
        };
        let reason = errno.map_or_else(|| error.to_string(), |errno| diagnosis::reason(path, errno));
        let at = match path == self.path {
            true => String::new(), // the reason names it
            false => format!("{}: ", self.path.display()),
        };
        fail!(code, "cannot {what} the TPM state file {at}{reason}")
    }
}

impl Locked<'_> {
    /// What is in the file.
    pub(crate) fn news(&mut self) -> Result<News> {
        let stamp = Stamp::of(&self.metadata);
        match &self.state.known {
            Some(known) if known.stamp == stamp => return Ok(News::None),
            Some(_) if self.metadata.len() == 0 => return Ok(News::Removed),
            Some(_) | None => {}
        }
        let mut bytes = Vec::new();
        let read = (&self.file).take(MAX_SIZE + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.state.failed("read", &self.state.path, &error))?;
        let blobs = match bytes.is_empty() {
            true => Blobs::default(),
            false => {
                let (permanent, volatile) = decode(&bytes).map_err(|what| {
                    fail!(
                        Rc::IO_ERROR,
                        "{} is no TPM state file, or is damaged: {what}. Name another file for a new TPM, or restore \
                         this one from a copy",
                        self.state.path.display()
                    )
                })?;
                Blobs { permanent: copy(permanent)?, volatile: copy(volatile)? }
            }
        };
        Ok(News::State(blobs))
    }

    /// The state that was read has become ours without a change.
    pub(crate) fn keep(mut self) -> Result<()> {
        let file = self.file.try_clone();
        let file = file.map_err(|error| self.state.failed("keep", &self.state.path, &error))?;
        self.made = false;
        self.state.known = Some(Known { _file: file, stamp: Stamp::of(&self.metadata) });
        Ok(())
    }

    /// Replaces the state; on an error the file is as before.
    pub(crate) fn store(mut self, blobs: &Blobs) -> Result<()> {
        // A link is followed, not replaced.
        let path = canonicalize(&self.state.path).unwrap_or_else(|_| self.state.path.clone());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let next = path.with_file_name(format!(".{name}.tcti-libtpms.new"));
        let known = self.replace(&path, &next, blobs);
        self.state.known = Some(known.map_err(|error| self.state.failed("replace", &next, &error))?);
        self.made = false;
        Ok(())
    }

    fn replace(&self, path: &Path, next: &Path, blobs: &Blobs) -> io::Result<Known> {
        let bytes = encode(blobs)?;
        // What a killed process left. Only a file that we made ourselves is written to.
        let _ = remove_file(next);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = keep_off_stdio(options.open(next)?)?;
        let written = self
            .give_owner(&file)
            .and_then(|()| write_all(file.as_fd(), &bytes, &Deadline::Never))
            .and_then(|()| file.sync_data())
            .and_then(|()| file.metadata())
            .and_then(|metadata| rename(next, path).map(|()| metadata));
        match written {
            Ok(metadata) => {
                // Done. That the new name survives a power cut, too, is more than some file systems can.
                let _ = File::open(path.parent().unwrap_or(Path::new("/"))).and_then(|dir| dir.sync_all());
                Ok(Known { _file: file, stamp: Stamp::of(&metadata) })
            }
            Err(error) => {
                let _ = remove_file(next);
                Err(error)
            }
        }
    }

    /// A state file stays its owner's, whoever uses it.
    fn give_owner(&self, file: &File) -> io::Result<()> {
        let (uid, gid) = (self.metadata.uid(), self.metadata.gid());
        if uid != geteuid().as_raw() {
            fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        Ok(())
    }
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn keep_off_stdio(file: File) -> io::Result<File> {
    above_stdio(OwnedFd::from(file)).map(File::from)
}

/// Waits for the lock. flock(2) knows no time-out, so this asks again, less and less often. Closing the file ends it.
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

fn encode(blobs: &Blobs) -> io::Result<Vec<u8>> {
    let too_large = |_| io::Error::from(ErrorKind::FileTooLarge);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(8 + blobs.permanent.len() + blobs.volatile.len())?;
    for blob in [&blobs.permanent, &blobs.volatile] {
        bytes.extend(u32::try_from(blob.len()).map_err(too_large)?.to_be_bytes());
        bytes.extend(blob);
    }
    Ok(bytes)
}

/// The permanent and the volatile state.
fn decode(bytes: &[u8]) -> core::result::Result<(&[u8], &[u8]), &'static str> {
    let (permanent, rest) = blob(bytes).ok_or("the permanent state ends early")?;
    let (volatile, rest) = blob(rest).ok_or("the volatile state ends early")?;
    // The C module of this name leaves zeroes behind the state when its process is killed.
    if rest.iter().any(|byte| *byte != 0) {
        return Err("something follows the state");
    }
    if permanent.is_empty() {
        return Err("the permanent state is missing");
    }
    Ok((permanent, volatile))
}

fn blob(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests;
