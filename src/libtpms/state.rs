// SPDX-License-Identifier: BSD-2-Clause
//! The state file, [`StateFile`]. The file is the TPM; the state in a process is a copy. Each command locks the file, reads
//! the changes of other processes, and stores its own before its response is returned.
#![forbid(unsafe_code)]

mod journal;
mod location;
mod lock;
mod record;

use crate::sys::Blobs;
use journal::{FILE_SIZE, Journal};
use location::{LockedFile, StateLocation};
use nix::errno::Errno;

use record::{Boot, NO_BOOT};
use rustix::process::{Resource, getrlimit};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf, absolute};
use tcti_core::visible::visible;
use tcti_core::{Error, Result, ReturnCode, fail};
use tcti_diagnosis as diagnosis;

/// A state file, and the state that this process last read from it or wrote to it.
pub struct StateFile {
    path: PathBuf,
    location: StateLocation,
    boot: Boot,
    known: Option<Journal>,
}

/// The content of the file, compared with the known state.
#[derive(PartialEq, Eq)]
pub enum FileState {
    /// Unchanged.
    None,
    /// Another state; empty blobs for an empty file, which is a new TPM.
    State(Blobs),
    /// The file was removed or emptied. It is written again from the copy of this process, and other processes may have
    /// used that state since.
    Removed,
}

/// The state file, locked until this is dropped.
pub struct Locked<'a> {
    path: &'a Path,
    locked: LockedFile<'a>,
    boot: Boot,
    known: &'a mut Option<Journal>,
    /// The content of the file, if it differs from the known state.
    found: Option<Journal>,
}

impl StateFile {
    /// Takes any path, and opens nothing yet. The path is made absolute, so that it stays the same file when the program
    /// changes its directory. That fails if the current directory was removed; no file can be opened there anyway.
    pub fn new(path: &Path) -> StateFile {
        let boot = fs::read("/proc/sys/kernel/random/boot_id").ok().and_then(|id| id.first_chunk().copied());
        let path = absolute(path).unwrap_or_else(|_| path.to_owned());
        let location = StateLocation::new(&path);
        StateFile { path, location, boot: boot.unwrap_or(NO_BOOT), known: None }
    }

    /// Locks the file, and creates an empty one, mode 0600, if it does not exist.
    pub fn lock(&mut self) -> Result<Locked<'_>> {
        let StateFile { path, location, boot, known } = self;
        // A write beyond this limit would send SIGXFSZ to the program.
        if getrlimit(Resource::Fsize).current.is_some_and(|limit| limit <= FILE_SIZE) {
            return Err(failed("write", path, &Errno::EFBIG.into()));
        }
        let locked = location.lock().map_err(|error| failed("open", path, &error))?;
        Ok(Locked { path, locked, boot: *boot, known, found: None })
    }
}

impl Locked<'_> {
    /// Reads the file, unless its state is the known one.
    pub fn read_changes(&mut self) -> Result<FileState> {
        self.try_read().map_err(|error| failed("read", self.path, &error))
    }

    fn try_read(&mut self) -> io::Result<FileState> {
        let LockedFile { file, size, .. } = self.locked;
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

    /// Returns the known state; empty blobs if there is none.
    pub fn known(&self) -> Result<Blobs> {
        let known = self.known.as_ref().map_or_else(|| Ok(Blobs::default()), Journal::state);
        known.map_err(|error| failed("read", self.path, &error))
    }

    /// Makes the state that was read the known one.
    pub fn accept(self) -> Result<()> {
        self.change(Journal::ensure_record)
    }

    /// Stores a state, and makes it the known one. On an error the file keeps its previous state.
    pub fn store(self, permanent: &[u8], volatile: &[u8]) -> Result<()> {
        self.change(|journal, file| journal.store(file, permanent, volatile))
    }

    /// Runs `change`, which returns whether the permanent state has changed.
    fn change(mut self, change: impl FnOnce(&mut Journal, &File) -> io::Result<bool>) -> Result<()> {
        let LockedFile { file, size, .. } = self.locked;
        let changed = match self.found.take() {
            None => self.known.as_mut().map_or(Err(ErrorKind::NotFound.into()), |known| change(known, file)),
            Some(mut found) => change(&mut found, file).inspect(|_| *self.known = Some(found)),
        };
        let is_permanent = changed.map_err(|error| {
            // Undoes a failed attempt to make room for records.
            let _ = if size == FILE_SIZE { Ok(()) } else { file.set_len(size) };
            failed("write", self.path, &error)
        })?;
        self.locked.sync_name();
        // A volatile state is also in this process, which creates a removed file again with the next command.
        match !is_permanent || self.locked.exists() {
            true => Ok(()),
            false => Err(fail!(
                ReturnCode::IO_ERROR,
                "the TPM state file {} was removed or replaced during a command, which has no effect; repeat it",
                self.path.display()
            )),
        }
    }
}

/// Explains why a path cannot be opened. The cause may be its directory, since a missing file is created.
fn reason(path: &Path, errno: Errno) -> String {
    let exists = |path: &Path| fs::symlink_metadata(path).is_ok();
    match path.parent() {
        Some(dir) if errno == Errno::ENOENT && !exists(dir) => {
            format!("{}: its directory {} does not exist", visible(path), visible(dir))
        }
        Some(dir) if diagnosis::is_denial(errno) && !exists(path) => {
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
            "{file} is not a TPM state file, or is damaged: {error}. Name another file for a new TPM, or restore this one from a \
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
