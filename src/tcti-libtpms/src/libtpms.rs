// SPDX-License-Identifier: BSD-2-Clause
//! A TPM inside the process as a transport. It does what a machine's firmware does: power, then Startup(CLEAR). With a
//! state file it carries on where the last process left it, and stores its state before each response goes out.
#![forbid(unsafe_code)]

use crate::state::StateFile;
use crate::sys::{Blobs, Chip};
use tcti_core::header::Header;
use tcti_core::{Conf, Open, Progress, Rc, Result, RxBuf, SetLocality, Transport, Wait, fail};

/// TPM2_Startup(TPM_SU_CLEAR) (TPM 2.0 Library Part 3, section 9.3).
const STARTUP_CLEAR: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];

/// Response codes of Startup that leave the TPM running: success, and "was started already" (Part 2, section 6.6).
const TPM_RC_SUCCESS: u32 = 0;
const TPM_RC_INITIALIZE: u32 = 0x100;

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
    /// In a file, and what that holds.
    File(StateFile, Blobs),
}

impl Libtpms {
    /// Power off and on; what is volatile is lost, as on a machine's reset.
    pub(crate) fn reset(&mut self) -> Result<()> {
        let Blobs { permanent, .. } = self.chip.state()?;
        self.start(Blobs { permanent, volatile: Vec::new() })?;
        self.store()
    }

    /// Powers on and sends Startup, which a resumed TPM answers with TPM_RC_INITIALIZE.
    fn start(&mut self, blobs: Blobs) -> Result<()> {
        self.chip.power_on(blobs)?;
        let response = self.chip.process(0, &STARTUP_CLEAR)?;
        match Header::parse(&response).map(|header| header.code) {
            Some(TPM_RC_SUCCESS | TPM_RC_INITIALIZE) => Ok(()),
            other => Err(fail!(Rc::IO_ERROR, "the TPM does not start: response code {:#x}", other.unwrap_or_default())),
        }
    }

    /// Makes the state survive this process. If it cannot, the TPM goes back to the state that does.
    fn store(&mut self) -> Result<()> {
        let Memory::File(file, stored) = &mut self.memory else { return Ok(()) };
        let state = self.chip.state()?;
        match file.store(&state) {
            Ok(()) => {
                *stored = state;
                Ok(())
            }
            Err(rc) => {
                let stored = stored.clone();
                self.start(stored)?;
                Err(rc)
            }
        }
    }
}

impl Open for Libtpms {
    const MAGIC: u64 = 0x49e2_99a5_5450_4d32;

    fn open(conf: Conf<'_>) -> Result<Libtpms> {
        let chip = Chip::take()?;
        let memory = match conf.path() {
            None => Memory::Chip,
            Some(path) => {
                let mut file = StateFile::open(path)?;
                let blobs = file.load()?;
                Memory::File(file, blobs)
            }
        };
        let blobs = match &memory {
            Memory::Chip => Blobs::default(),
            Memory::File(_, blobs) => blobs.clone(),
        };
        let mut tpm = Libtpms { chip, memory, locality: 0, response: Vec::new() };
        tpm.start(blobs).map_err(|rc| match conf.path() {
            None => rc,
            Some(path) => fail!(
                rc,
                "the TPM does not start from the state file {}: it is damaged, or of a later libtpms. Name another file \
                 for a new TPM, or restore this one from a copy",
                path.display()
            ),
        })?;
        tpm.store()?;
        Ok(tpm)
    }
}

impl Transport for Libtpms {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        let response = self.chip.process(self.locality, command)?;
        self.store()?;
        self.response = response;
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        rx.extend(&std::mem::take(&mut self.response));
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {
        self.response.clear();
    }

    const SET_LOCALITY: Option<SetLocality<Self>> = Some(|tpm, locality| {
        tpm.locality = locality;
        Ok(())
    });
}

#[cfg(test)]
mod tests;
