// SPDX-License-Identifier: BSD-2-Clause
//! A TPM inside the process as a transport. It does what a machine's firmware does: power, then Startup(CLEAR). With a
//! state file it carries on where the last command of any process left it, and stores its state before each response
//! goes out.
#![forbid(unsafe_code)]

use crate::state::{News, StateFile};
use crate::sys::{Blobs, Chip, copy};
use tcti_core::header::Header;
use tcti_core::{Conf, Inheritance, Open, Progress, Rc, Result, RxBuf, SetLocality, Transport, Wait, fail};

/// TPM2_Startup(TPM_SU_CLEAR) (TPM 2.0 Library Part 3, section 9.3).
const STARTUP_CLEAR: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];

/// TPM2_StirRandom of 4 bytes, which follow (Part 3, section 16.2).
const STIR_RANDOM: [u8; 12] = [0x80, 0x01, 0, 0, 0, 16, 0, 0, 0x01, 0x46, 0, 4];

/// Response codes of Startup that leave the TPM running: success, and "was started already" (Part 2, section 6.6).
const TPM_RC_SUCCESS: u32 = 0;
const TPM_RC_INITIALIZE: u32 = 0x100;
/// The TPM is in failure mode (Part 2, section 6.6).
const TPM_RC_FAILURE: u32 = 0x101;

/// A TPM in this process.
pub(crate) struct Libtpms {
    chip: Chip,
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
    chip: Standing,
}

/// Where the chip is.
#[derive(PartialEq, Eq)]
enum Standing {
    /// At the state that is known to be in the file.
    AsKnown,
    /// Somewhere else: what it did last was not stored.
    Astray,
}

impl Libtpms {
    /// Power off and on; what is volatile is lost, as on a machine's reset.
    pub(crate) fn reset(&mut self) -> Result<()> {
        let restart = |chip: &mut Chip| {
            let permanent = chip.permanent(copy)?;
            start(chip, Blobs { permanent, volatile: Vec::new() })
        };
        if let Memory::Copied = self.memory {
            restart(&mut self.chip)?;
            self.memory = Memory::Chip; // it took entropy of its own
            return Ok(());
        }
        self.transact(|chip| restart(chip).map(|()| Vec::new())).map(drop)
    }

    /// Does something with the chip on the state of the file, which other processes may have changed, and makes its
    /// effect survive this process. If it cannot, the TPM goes back to the state that does. So it does from failure mode,
    /// which a chip leaves by a reset, and which no process after this one could leave.
    fn transact(&mut self, function: impl FnOnce(&mut Chip) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let Libtpms { chip, memory, .. } = self;
        let Kept { file, chip: standing } = match memory {
            Memory::File(kept) => &mut **kept,
            Memory::Chip => return function(chip),
            Memory::Copied => {
                *memory = stir(chip)?;
                return function(chip);
            }
        };
        let mut locked = file.lock()?;
        let news = locked.news()?;
        let before = std::mem::replace(standing, Standing::Astray);
        let is_removed = news == News::Removed;
        match news {
            News::State(state) => start(chip, state)?,
            News::None | News::Removed if before == Standing::Astray => start(chip, locked.known()?)?,
            News::None | News::Removed => {}
        }
        if is_removed {
            stir(chip)?;
        }
        let response = function(chip)?;
        if Header::parse(&response).is_some_and(|header| header.code == TPM_RC_FAILURE) {
            log::warn!("the TPM went into failure mode; it is reset to its state before this command");
            return Ok(response);
        }
        let volatile = chip.volatile()?;
        chip.permanent(|permanent| locked.store(permanent, &volatile))?;
        *standing = Standing::AsKnown;
        Ok(response)
    }
}

/// Powers on and sends Startup, which a resumed TPM answers with TPM_RC_INITIALIZE.
fn start(chip: &mut Chip, blobs: Blobs) -> Result<()> {
    chip.power_on(blobs)?;
    let response = chip.process(0, &STARTUP_CLEAR)?;
    match Header::parse(&response).map(|header| header.code) {
        Some(TPM_RC_SUCCESS | TPM_RC_INITIALIZE) => Ok(()),
        other => Err(fail!(Rc::IO_ERROR, "the TPM does not start: response code {:#x}", other.unwrap_or_default())),
    }
}

/// Has the TPM's generator of random numbers go a way of its own: it takes entropy, and the number of this process
/// (Part 3, TPM2_StirRandom).
fn stir(chip: &mut Chip) -> Result<Memory> {
    let mut command = STIR_RANDOM.to_vec();
    command.extend(std::process::id().to_be_bytes());
    let response = chip.process(0, &command)?;
    stirred(Header::parse(&response).map(|header| header.code))
}

/// What the response code of TPM2_StirRandom says. A TPM in failure mode cannot stir, and gives no random numbers; it
/// stays a copy until it is reset.
fn stirred(code: Option<u32>) -> Result<Memory> {
    match code {
        Some(TPM_RC_SUCCESS) => Ok(Memory::Chip),
        Some(TPM_RC_FAILURE) => Ok(Memory::Copied),
        _ => Err(fail!(
            Rc::IO_ERROR,
            "the TPM does not stir its random numbers, which another process may have, too: response code {:#x}",
            code.unwrap_or_default()
        )),
    }
}

impl Open for Libtpms {
    const MAGIC: u64 = 0x49e2_99a5_5450_4d32;

    fn open(conf: Conf<'_>) -> Result<Libtpms> {
        let mut tpm = Libtpms { chip: Chip::take()?, memory: Memory::Chip, locality: 0, response: Vec::new() };
        let Some(path) = conf.path() else {
            start(&mut tpm.chip, Blobs::default())?;
            return Ok(tpm);
        };
        let mut file = StateFile::new(path);
        let mut locked = file.lock()?;
        let state = match locked.news()? {
            News::State(state) => state,
            News::None | News::Removed => Blobs::default(),
        };
        let is_resumed = !state.volatile.is_empty();
        start(&mut tpm.chip, state).map_err(|rc| {
            fail!(
                rc,
                "the TPM does not start from the state file {}: it is damaged, or of a later libtpms. Name another file \
                 for a new TPM, or restore this one from a copy",
                path.display()
            )
        })?;
        match is_resumed {
            true => locked.keep()?,
            false => {
                let volatile = tpm.chip.volatile()?;
                tpm.chip.permanent(|permanent| locked.store(permanent, &volatile))?;
            }
        }
        tpm.memory = Memory::File(Box::new(Kept { file, chip: Standing::AsKnown }));
        Ok(tpm)
    }
}

impl Transport for Libtpms {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        let locality = self.locality;
        self.response = self.transact(|chip| chip.process(locality, command))?;
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        rx.extend(&std::mem::take(&mut self.response))?;
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {
        self.response.clear();
    }

    /// The TPM was copied with the process. With a state file each of the two takes over what the other did; without one
    /// there are two TPMs from here on. The descriptor of the file stays open: it has no position that the two would share,
    /// locks are of one process, and a child that became another user could not open the file.
    fn inherited(&mut self, _inheritance: Inheritance) {
        self.response.clear();
        self.chip.inherited();
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
