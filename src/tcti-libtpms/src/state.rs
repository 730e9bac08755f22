// SPDX-License-Identifier: BSD-2-Clause
//! The state file: BE32 length, permanent state, BE32 length, volatile state. It is the TPM; what a process holds is a
//! copy. Each command locks the file, so that several processes may use it in turn, and replaces it as a whole, so that
//! a process killed at any moment leaves the last consistent state.
#![forbid(unsafe_code)]

mod held;

use crate::sys::{Blobs, copy};
use held::Held;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, fchown};
use std::ffi::OsString;
use std::fs::{File, Metadata, canonicalize, remove_file, rename};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;
use tcti_core::io::write_all;
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
    known: &'a mut Option<Known>,
    held: Held<'a>,
}

impl StateFile {
    /// Any path; nothing is opened yet. It stays the same file when the program changes its directory. A directory that was
    /// removed has no path; no file opens in it.
    pub(crate) fn new(path: &Path) -> StateFile {
        StateFile { path: absolute(path).unwrap_or_else(|_| path.to_owned()), known: None }
    }

    /// Locks the file, making an empty one, mode 0600, when there is none.
    pub(crate) fn lock(&mut self) -> Result<Locked<'_>> {
        let StateFile { path, known } = self;
        let held = Held::take(path, 0, &Deadline::within(LOCK_TIMEOUT));
        Ok(Locked { held: held.map_err(|error| failed("open", path, path, &error))?, known })
    }
}

/// `at` is the file that the system did not want us to have.
fn failed(what: &str, path: &Path, at: &Path, error: &io::Error) -> Rc {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let reason = match errno {
        None if error.kind() == ErrorKind::TimedOut => {
            return fail!(
                Rc::IO_ERROR,
                "the TPM state file {} is in use by another process, still after {} s",
                path.display(),
                LOCK_TIMEOUT.as_secs()
            );
        }
        None => format!("{}: {error}", at.display()),
        Some(errno) => diagnosis::reason(at, errno),
    };
    let named = match at == path {
        true => String::new(), // the reason names it
        false => format!("{}: ", path.display()),
    };
    fail!(code(errno), "cannot {what} the TPM state file {named}{reason}")
}

fn code(errno: Option<Errno>) -> Rc {
    match errno {
        Some(errno) if diagnosis::is_denial(errno) => Rc::NOT_PERMITTED,
        _ => Rc::IO_ERROR,
    }
}

impl Locked<'_> {
    /// What is in the file.
    pub(crate) fn news(&mut self) -> Result<News> {
        let Held { path, file, metadata, .. } = &self.held;
        let stamp = Stamp::of(metadata);
        match &self.known {
            Some(known) if known.stamp == stamp => return Ok(News::None),
            Some(_) if metadata.len() == 0 => return Ok(News::Removed),
            Some(_) | None => {}
        }
        let mut bytes = Vec::new();
        let read = file.take(MAX_SIZE + 1).read_to_end(&mut bytes);
        read.map_err(|error| failed("read", path, path, &error))?;
        let blobs = match bytes.is_empty() {
            true => Blobs::default(),
            false => {
                let (permanent, volatile) = decode(&bytes).map_err(|what| {
                    fail!(
                        Rc::IO_ERROR,
                        "{} is no TPM state file, or is damaged: {what}. Name another file for a new TPM, or restore \
                         this one from a copy",
                        path.display()
                    )
                })?;
                Blobs { permanent: copy(permanent)?, volatile: copy(volatile)? }
            }
        };
        Ok(News::State(blobs))
    }

    /// The state that was read has become ours without a change.
    pub(crate) fn keep(mut self) -> Result<()> {
        let Held { path, file, metadata, .. } = &self.held;
        let stamp = Stamp::of(metadata);
        let file = file.try_clone().map_err(|error| failed("keep", path, path, &error))?;
        self.held.made = false;
        *self.known = Some(Known { _file: file, stamp });
        Ok(())
    }

    /// Replaces the state; on an error the file is as before.
    pub(crate) fn store(mut self, blobs: &Blobs) -> Result<()> {
        // A link is followed, not replaced.
        let path = canonicalize(self.held.path).unwrap_or_else(|_| self.held.path.to_owned());
        *self.known = Some(self.replace(&path, &next_to(&path), blobs)?);
        self.held.made = false;
        Ok(())
    }

    fn replace(&self, path: &Path, next: &Path, blobs: &Blobs) -> Result<Known> {
        let failed = |error: io::Error| failed("replace", self.held.path, next, &error);
        let bytes = encode(blobs).map_err(failed)?;
        let mut new = make(next, &Deadline::within(LOCK_TIMEOUT)).map_err(failed)?;
        give_owner(&new.file, &self.held.metadata).map_err(|error| {
            fail!(
                code(error.raw_os_error().map(Errno::from_raw)),
                "cannot replace the TPM state file {}: the new one would not be its owner's (uid {}): {error}. Use it as \
                 that user, or as root",
                self.held.path.display(),
                self.held.metadata.uid()
            )
        })?;
        write_all(new.file.as_fd(), &bytes, &Deadline::Never).map_err(failed)?;
        new.file.sync_data().map_err(failed)?;
        let stamp = Stamp::of(&new.file.metadata().map_err(failed)?);
        let known = Known { _file: new.file.try_clone().map_err(failed)?, stamp };
        // Where the file was taken away from us, another process may have the one that is there now. It cannot replace that
        // before we have: it would need the file for the next state, which we hold.
        if !self.held.is_at_its_path() {
            return Err(fail!(
                Rc::IO_ERROR,
                "the TPM state file {} was removed or replaced during a command, which has no effect; repeat it",
                self.held.path.display()
            ));
        }
        rename(next, path).map_err(failed)?;
        new.made = false;
        // Done. That the new name survives a power cut, too, is more than some file systems can.
        let _ = File::open(path.parent().unwrap_or(Path::new("/"))).and_then(|dir| dir.sync_all());
        Ok(known)
    }
}

/// The file in which the next state is written. One name for all processes: what a killed one left is found.
fn next_to(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tcti-libtpms.new");
    path.with_file_name(name)
}

/// Makes the file for the next state. Only one that we made ourselves is written to.
fn make<'a>(next: &'a Path, deadline: &Deadline) -> io::Result<Held<'a>> {
    loop {
        let held = Held::take(next, libc::O_NOFOLLOW, deadline)?;
        if held.made {
            return Ok(held);
        }
        remove_file(next)?; // a killed process left it
        if deadline.has_passed() {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

/// A state file stays its owner's, whoever uses it.
fn give_owner(file: &File, old: &Metadata) -> io::Result<()> {
    if file.metadata()?.uid() != old.uid() {
        fchown(file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
    }
    Ok(())
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
