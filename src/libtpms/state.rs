// SPDX-License-Identifier: BSD-2-Clause
//! The state file. It is the TPM; what a process holds is a copy. Each command locks the file, takes over what other
//! processes did, and stores its own effect before its response goes out.
#![forbid(unsafe_code)]

mod journal;
mod kept;
mod lock;
mod place;
mod record;

use crate::sys::Blobs;
use journal::{Journal, SIZE};
use nix::errno::Errno;
use place::{Held, Place};
use record::{Boot, NO_BOOT};
use rustix::process::{Resource, getrlimit};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf, absolute};
use tcti_core::visible::visible;
use tcti_core::{Error, Result, ReturnCode, fail};
use tcti_diagnosis as diagnosis;

/// A state file, and which state of it we know.
pub struct StateFile {
    path: PathBuf,
    place: Place,
    boot: Boot,
    known: Option<Journal>,
}

/// What a file tells who knows an earlier state of it, or none.
#[derive(PartialEq, Eq)]
pub enum FileState {
    /// It is as known.
    None,
    /// Another state; empty blobs for an empty file, which is a new TPM.
    State(Blobs),
    /// The file was removed or emptied. It is made again from what this process holds, and other processes may have gone on
    /// from there.
    Removed,
}

/// The state file while no other process can touch it. The lock ends with it.
pub struct Locked<'a> {
    path: &'a Path,
    held: Held<'a>,
    boot: Boot,
    known: &'a mut Option<Journal>,
    /// What is in the file, if that is not what is known.
    found: Option<Journal>,
}

impl StateFile {
    /// Any path; nothing is opened yet. It stays the same file when the program changes its directory. A directory that was
    /// removed has no path; no file opens in it.
    pub fn new(path: &Path) -> StateFile {
        let boot = fs::read("/proc/sys/kernel/random/boot_id").ok().and_then(|id| id.first_chunk().copied());
        let path = absolute(path).unwrap_or_else(|_| path.to_owned());
        let place = Place::new(path.clone());
        StateFile { path, place, boot: boot.unwrap_or(NO_BOOT), known: None }
    }

    /// Locks the file, making an empty one, mode 0600, when there is none.
    pub fn lock(&mut self) -> Result<Locked<'_>> {
        let StateFile { path, place, boot, known } = self;
        // A write beyond this limit would be a signal to the program.
        if getrlimit(Resource::Fsize).current.is_some_and(|limit| limit <= SIZE) {
            return Err(failed("write", path, &Errno::EFBIG.into()));
        }
        let held = place.lock().map_err(|error| failed("open", path, &error))?;
        Ok(Locked { path, held, boot: *boot, known, found: None })
    }
}

impl Locked<'_> {
    /// What is in the file.
    pub fn news(&mut self) -> Result<FileState> {
        self.look().map_err(|error| failed("read", self.path, &error))
    }

    fn look(&mut self) -> io::Result<FileState> {
        let Held { file, size, .. } = self.held;
        let is_known = |known: &mut Journal| known.is_current(file, size);
        if self.known.as_mut().map_or(Ok(false), is_known)? {
            return Ok(FileState::None);
        }
        let found = Journal::load(file, size, self.boot)?;
        let state = found.state()?;
        self.found = Some(found);
        Ok(if state.permanent.is_empty() && self.known.is_some() {
            FileState::Removed
        } else {
            FileState::State(state)
        })
    }

    /// What was in the file when it was read or written last by this process.
    pub fn known(&self) -> Result<Blobs> {
        let known = self.known.as_ref().map_or_else(|| Ok(Blobs::default()), Journal::state);
        known.map_err(|error| failed("read", self.path, &error))
    }

    /// What was read is known from now on.
    pub fn keep(self) -> Result<()> {
        self.change(Journal::keep)
    }

    /// Stores a state, which is then known. On an error the file is as before.
    pub fn store(self, permanent: &[u8], volatile: &[u8]) -> Result<()> {
        self.change(|journal, file| journal.store(file, permanent, volatile))
    }

    /// Makes a change, which says whether the permanent state is another one.
    fn change(mut self, change: impl FnOnce(&mut Journal, &File) -> io::Result<bool>) -> Result<()> {
        let Held { file, size, .. } = self.held;
        let changed = match self.found.take() {
            None => self.known.as_mut().map_or(Err(ErrorKind::NotFound.into()), |known| change(known, file)),
            Some(mut found) => change(&mut found, file).inspect(|_| *self.known = Some(found)),
        };
        let is_lasting = changed.map_err(|error| {
            // Where there were no records, there is no room for them.
            let _ = if size == SIZE { Ok(()) } else { file.set_len(size) };
            failed("write", self.path, &error)
        })?;
        self.held.sync_name();
        // What is volatile this process has, too: it makes a file that was removed again, with the next command.
        match !is_lasting || self.held.is_there() {
            true => Ok(()),
            false => Err(fail!(
                ReturnCode::IO_ERROR,
                "the TPM state file {} was removed or replaced during a command, which has no effect; repeat it",
                self.path.display()
            )),
        }
    }
}

/// Why a path does not open, which may be its directory's fault: a file that is not there is made.
fn reason(path: &Path, errno: Errno) -> String {
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    match path.parent() {
        Some(dir) if errno == Errno::ENOENT && !is_there(dir) => {
            format!("{}: its directory {} does not exist", visible(path), visible(dir))
        }
        Some(dir) if diagnosis::is_denial(errno) && !is_there(path) => {
            format!("{}: its directory is {}", visible(path), diagnosis::reason(dir, errno))
        }
        _ => diagnosis::reason(path, errno),
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    let file = visible(path);
    match (error.raw_os_error().map(Errno::from_raw), error.kind()) {
        (Some(errno), _) => {
            let code = if diagnosis::is_denial(errno) { ReturnCode::NOT_PERMITTED } else { ReturnCode::IO_ERROR };
            fail!(code, "cannot {what} the TPM state file {}", reason(path, errno))
        }
        (None, ErrorKind::InvalidData) => fail!(
            ReturnCode::IO_ERROR,
            "{file} is no TPM state file, or is damaged: {error}. Name another file for a new TPM, or restore this one from a \
             copy"
        ),
        (None, ErrorKind::TimedOut) => fail!(ReturnCode::IO_ERROR, "the TPM state file {file} {error}"),
        (None, kind) => {
            let code = match kind {
                ErrorKind::PermissionDenied => ReturnCode::NOT_PERMITTED,
                ErrorKind::OutOfMemory => ReturnCode::MEMORY,
                _ => ReturnCode::IO_ERROR,
            };
            fail!(code, "cannot {what} the TPM state file {file}: {error}")
        }
    }
}

#[cfg(test)]
mod tests;
