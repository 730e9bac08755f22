// SPDX-License-Identifier: BSD-2-Clause
//! A TPM inside the process as a transport. With a state file it carries on where the last command of any process left
//! it, and stores its state before each response goes out. The caller's TPM2_Startup is the first command after power-on,
//! or the TPM gets one by itself, see [`power`](crate::power).

mod power;
pub mod state;
pub mod sys;

use crate::power::{Generator, TPM_RC_FAILURE, Tpm, is_startup};
use crate::state::{FileState, StateFile};
use crate::sys::Blobs;
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
    /// Whether it was powered on and no command was sent since, in the eyes of the caller.
    is_new: bool,
    memory: Memory,
    locality: u8,
    response: Vec<u8>,
}

/// Where the state is between two commands.
enum Memory {
    /// In the chip alone.
    Chip,
    /// In the chip alone, which is a copy of the parent process's and would give the same random numbers.
    Copied,
    /// In a file.
    File(Box<Kept>),
}

/// A TPM whose state is in a file.
struct Kept {
    file: StateFile,
    chip: ChipState,
}

/// Where the chip is.
#[derive(PartialEq, Eq)]
enum ChipState {
    /// At the state that is known to be in the file.
    AsKnown,
    /// Somewhere else: what it did last was not stored.
    Stale,
}

impl Libtpms {
    /// Power off and on; what is volatile is lost, as on a machine's reset.
    pub fn reset(&mut self) -> Result<()> {
        if let Memory::Copied = self.memory {
            self.tpm.cycle()?;
            self.memory = Memory::Chip; // it took entropy of its own
        } else {
            self.transact(|tpm| tpm.cycle().map(|()| Vec::new()))?;
        }
        self.is_new = true;
        Ok(())
    }

    /// Does something with the TPM on the state of the file, which other processes may have changed, and makes its
    /// effect survive this process. If it cannot, the TPM goes back to the state that does. So it does from failure mode,
    /// which a chip leaves by a reset, and which no process after this one could leave.
    fn transact(&mut self, function: impl FnOnce(&mut Tpm) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let Libtpms { tpm, memory, .. } = self;
        let Kept { file, chip: standing } = match memory {
            Memory::File(kept) => &mut **kept,
            Memory::Chip => return function(tpm),
            Memory::Copied => {
                *memory = match tpm.stir()? {
                    Generator::Own => Memory::Chip,
                    Generator::AsBefore => Memory::Copied,
                };
                return function(tpm);
            }
        };
        let mut locked = file.lock()?;
        let news = locked.news()?;
        let before = replace(standing, ChipState::Stale);
        let is_removed = news == FileState::Removed;
        match news {
            FileState::State(state) => tpm.power_on(state)?,
            FileState::None | FileState::Removed if before == ChipState::Stale => tpm.power_on(locked.known()?)?,
            FileState::None | FileState::Removed => {}
        }
        if is_removed {
            tpm.stir()?;
        }
        let response = function(tpm)?;
        if Header::parse(&response).is_some_and(|header| header.code == TPM_RC_FAILURE) {
            log::warn!("the TPM went into failure mode; it is reset to its state before this command");
            return Ok(response);
        }
        tpm.with_state(|permanent, volatile| locked.store(permanent, volatile))??;
        *standing = ChipState::AsKnown;
        Ok(response)
    }
}

impl Module for Libtpms {
    const MAGIC: u64 = 0x49e2_99a5_5450_4d32;
}

impl Open for Libtpms {
    fn open(conf: Conf<'_>) -> Result<Libtpms> {
        let mut opened =
            Libtpms { tpm: Tpm::take()?, is_new: true, memory: Memory::Chip, locality: 0, response: Vec::new() };
        let Some(path) = conf.path() else {
            opened.tpm.power_on(Blobs::default())?;
            return Ok(opened);
        };
        // As an environment file has it that was written elsewhere; a new TPM under such a name would be a puzzle.
        if path.as_os_str().as_bytes().last().is_some_and(|byte| byte.is_ascii_whitespace()) {
            return Err(fail!(
                ReturnCode::BAD_VALUE,
                "the path of the TPM state file {} ends with a blank or a line end",
                visible(path)
            ));
        }
        let mut file = StateFile::new(path);
        let mut locked = file.lock()?;
        let state = match locked.news()? {
            FileState::State(state) => state,
            FileState::None | FileState::Removed => Blobs::default(),
        };
        let is_resumed = !state.volatile.is_empty();
        opened.tpm.power_on(state).map_err(|error| {
            fail!(
                error.code(),
                "the TPM does not start from the state file {} ({error}): it is damaged, or of a later libtpms. Name \
                 another file for a new TPM, or restore this one from a copy",
                visible(path)
            )
        })?;
        match is_resumed {
            true => locked.keep()?,
            false => opened.tpm.with_state(|permanent, volatile| locked.store(permanent, volatile))??,
        }
        opened.memory = Memory::File(Box::new(Kept { file, chip: ChipState::AsKnown }));
        Ok(opened)
    }
}

impl Transport for Libtpms {
    /// Whoever begins with Startup takes the TPM for one that was just powered on, as it is with the C module; so it is.
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
        self.response.clear();
    }

    /// The TPM was copied with the process. With a state file each of the two takes over what the other did; without one
    /// there are two TPMs from here on. The descriptor of the file stays open: it has no position that the two would share,
    /// locks are of one process, and a child that became another user could not open the file.
    fn after_fork(&mut self, _inheritance: Inheritance) {
        self.response.clear();
        self.tpm.after_fork();
        if let Memory::Chip = self.memory {
            self.memory = Memory::Copied;
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
