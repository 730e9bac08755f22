// SPDX-License-Identifier: BSD-2-Clause
//! The transport [`Libtpms`] runs a TPM inside the process. With a state file it resumes after the last command of any
//! process, and stores its state before it returns a response. The caller may send TPM2_Startup after power-on; otherwise it
//! is sent automatically, see `power`.

mod power;
pub mod state;
pub mod sys;

use crate::power::{Reseed, TPM_RC_FAILURE, Tpm, is_startup};
use crate::state::{FileState, StateFile};
use crate::sys::{Blobs, Secret};
use std::mem::{replace, take};
use std::os::unix::ffi::OsStrExt;
use tcti_core::header::Header;
use tcti_core::visible::visible;
use tcti_core::{
    Conf, Inheritance, Module, Open, Progress, Result, ReturnCode, RxBuf, SetLocality, Transport, Wait, fail,
};

/// A TPM in this process.
pub struct Libtpms {
    tpm: Tpm,
    /// Whether the caller has sent no command since power-on.
    is_new: bool,
    storage: Storage,
    locality: u8,
    response: Secret,
}

/// Where the state is between two commands.
enum Storage {
    /// Only in the chip.
    Chip,
    /// Only in the chip, which is a copy of the parent process's and would return the same random numbers.
    Forked,
    /// In a file.
    File(Box<FileBacked>),
}

/// The file that holds the state.
struct FileBacked {
    file: StateFile,
    /// Whether the state of the chip differs from the one last read from or written to the file: its last command was not
    /// stored.
    is_stale: bool,
}

impl Libtpms {
    /// Power-cycles the TPM; volatile state is lost, as at the reset of a machine.
    pub fn reset(&mut self) -> Result<()> {
        if let Storage::Forked = self.storage {
            self.tpm.cycle()?;
            self.storage = Storage::Chip; // power-on has taken new entropy
        } else {
            self.transact(|tpm| tpm.cycle().map(|()| Secret::default()))?;
        }
        self.is_new = true;
        Ok(())
    }

    /// Runs `function` on the state in the file, which other processes may have changed, and stores the result. On an error
    /// the TPM returns to the stored state. It also does when it enters failure mode, which a chip leaves by a reset: if that
    /// state were stored, no later process could leave it.
    fn transact(&mut self, function: impl FnOnce(&mut Tpm) -> Result<Secret>) -> Result<Secret> {
        let Libtpms { tpm, storage, .. } = self;
        let FileBacked { file, is_stale } = match storage {
            Storage::File(file) => &mut **file,
            Storage::Chip => return function(tpm),
            Storage::Forked => {
                *storage = match tpm.reseed()? {
                    Reseed::Done => Storage::Chip,
                    Reseed::InFailureMode => Storage::Forked,
                };
                return function(tpm);
            }
        };
        let mut locked = file.lock()?;
        let changes = locked.read_changes()?;
        let was_stale = replace(is_stale, true);
        let is_removed = changes == FileState::Removed;
        match changes {
            FileState::State(state) => tpm.power_on(state)?,
            FileState::None | FileState::Removed if was_stale => tpm.power_on(locked.known()?)?,
            FileState::None | FileState::Removed => {}
        }
        if is_removed {
            tpm.reseed()?;
        }
        let response = function(tpm)?;
        if Header::parse(&response).is_some_and(|header| header.code == TPM_RC_FAILURE) {
            log::warn!("the TPM went into failure mode; it is reset to its state before this command");
            return Ok(response);
        }
        tpm.with_state(|permanent, volatile| locked.store(permanent, volatile))??;
        *is_stale = false;
        Ok(response)
    }
}

impl Module for Libtpms {
    const MAGIC: u64 = 0x49e2_99a5_5450_4d32;
}

impl Open for Libtpms {
    fn open(conf: Conf<'_>) -> Result<Libtpms> {
        let mut opened = Libtpms {
            tpm: Tpm::take()?,
            is_new: true,
            storage: Storage::Chip,
            locality: 0,
            response: Secret::default(),
        };
        let Some(path) = conf.path() else {
            opened.tpm.power_on(Blobs::default())?;
            return Ok(opened);
        };
        // For example from an environment file with CRLF line ends; a new TPM in a file of such a name would be confusing.
        if path.as_os_str().as_bytes().last().is_some_and(|byte| byte.is_ascii_whitespace()) {
            return Err(fail!(
                ReturnCode::BAD_VALUE,
                "the path of the TPM state file {} ends with a blank or a line end",
                visible(path)
            ));
        }
        let mut file = StateFile::new(path);
        let mut locked = file.lock()?;
        let state = match locked.read_changes()? {
            FileState::State(state) => state,
            FileState::None | FileState::Removed => Blobs::default(),
        };
        let is_resumed = !state.volatile.is_empty();
        opened.tpm.power_on(state).map_err(|error| {
            fail!(
                error.code(),
                "the TPM does not start from the state file {} ({error}): it is damaged, or was written by a later libtpms. Name \
                 another file for a new TPM, or restore this one from a copy",
                visible(path)
            )
        })?;
        match is_resumed {
            true => locked.accept()?,
            false => opened.tpm.with_state(|permanent, volatile| locked.store(permanent, volatile))??,
        }
        opened.storage = Storage::File(Box::new(FileBacked { file, is_stale: false }));
        Ok(opened)
    }
}

impl Transport for Libtpms {
    /// Power-cycles the TPM if the first command is TPM2_Startup: its caller expects a TPM that was just powered on, as with
    /// the C module.
    fn send(&mut self, command: &[u8]) -> Result<()> {
        let (locality, begins) = (self.locality, self.is_new && is_startup(command));
        self.response = self.transact(|tpm| {
            if begins {
                tpm.await_startup()?;
            }
            tpm.execute(locality, command)
        })?;
        self.is_new = false;
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        rx.extend(&take(&mut self.response))?;
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {
        self.response = Secret::default();
    }

    /// The fork has copied the TPM. With a state file each process picks up the changes of the other; without one there are
    /// two TPMs from now on. The file descriptor stays open: it is used without its offset, which the processes would share,
    /// its locks belong to one process, and a child that has changed its user could not open the file again.
    fn after_fork(&mut self, _inheritance: Inheritance) {
        self.response = Secret::default();
        if let Storage::Chip = self.storage {
            self.storage = Storage::Forked;
        }
    }

    const SET_LOCALITY: Option<SetLocality<Self>> = Some(|tpm, locality| {
        tpm.locality = locality;
        Ok(())
    });
}

#[cfg(test)]
mod killed;
#[cfg(test)]
mod tests;
