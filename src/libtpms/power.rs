// SPDX-License-Identifier: BSD-2-Clause
//! Power and startup of the TPM: [`Tpm`]. After power-on it waits for the caller's TPM2_Startup; if the first command is
//! another one, it sends TPM2_Startup(CLEAR) itself, as the firmware of a machine does.
#![forbid(unsafe_code)]

use crate::sys::{Blobs, Chip, Secret, copy};
use tcti_core::header::Header;
use tcti_core::{Result, ReturnCode, fail};

/// TPM2_Startup(TPM_SU_CLEAR) (TPM 2.0 Library Part 3, section 9.3).
pub(crate) const STARTUP_CLEAR: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];
const TPM_CC_STARTUP: u32 = 0x144;

/// TPM2_StirRandom with 4 bytes of data, which follow (Part 3, section 16.2).
const STIR_RANDOM: [u8; 12] = [0x80, 0x01, 0, 0, 0, 16, 0, 0, 0x01, 0x46, 0, 4];

/// Response codes of TPM2_Startup for a running TPM: success, and already started (Part 2, section 6.6).
pub(crate) const TPM_RC_SUCCESS: u32 = 0;
pub(crate) const TPM_RC_INITIALIZE: u32 = 0x100;
/// The TPM is in failure mode (Part 2, section 6.6).
pub(crate) const TPM_RC_FAILURE: u32 = 0x101;

/// A chip, and whether it was started.
pub(crate) struct Tpm {
    chip: Chip,
    is_started: bool,
}

/// The result of reseeding the random number generator.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reseed {
    /// The generator differs from that of any copy of the TPM.
    Done,
    /// The generator is unchanged; a TPM in failure mode returns no random numbers.
    InFailureMode,
}

/// Returns whether this is TPM2_Startup.
pub(crate) fn is_startup(command: &[u8]) -> bool {
    Header::parse(command).is_some_and(|header| header.code == TPM_CC_STARTUP)
}

fn code(response: &[u8]) -> Option<u32> {
    Header::parse(response).map(|header| header.code)
}

impl Tpm {
    /// Takes the chip of this process.
    pub(crate) fn take() -> Result<Tpm> {
        Ok(Tpm { chip: Chip::take()?, is_started: false })
    }

    /// Powers on. With a volatile state the TPM resumes from it, and is started if it was not.
    pub(crate) fn power_on(&mut self, state: Blobs) -> Result<()> {
        let resumes = !state.volatile.is_empty();
        self.is_started = false;
        self.chip.power_on(state)?;
        if resumes { self.start() } else { Ok(()) }
    }

    /// Power-cycles the TPM; volatile state is lost, as at the reset of a machine.
    pub(crate) fn cycle(&mut self) -> Result<()> {
        let permanent = self.chip.permanent(copy)?;
        self.power_on(Blobs { permanent, volatile: Secret::default() })
    }

    /// Power-cycles the TPM, unless it is waiting for TPM2_Startup already.
    pub(crate) fn await_startup(&mut self) -> Result<()> {
        if self.is_started { self.cycle() } else { Ok(()) }
    }

    fn start(&mut self) -> Result<()> {
        match code(&self.chip.process(0, &STARTUP_CLEAR)?) {
            Some(TPM_RC_SUCCESS | TPM_RC_INITIALIZE) => {
                self.is_started = true;
                Ok(())
            }
            other => Err(fail!(
                ReturnCode::IO_ERROR,
                "the TPM does not start: response code {:#x}",
                other.unwrap_or_default()
            )),
        }
    }

    /// Executes a command of the caller.
    pub(crate) fn execute(&mut self, locality: u8, command: &[u8]) -> Result<Secret> {
        let is_startup = is_startup(command);
        if !is_startup && !self.is_started {
            self.start()?;
        }
        let response = self.chip.process(locality, command)?;
        self.is_started |= is_startup && code(&response) == Some(TPM_RC_SUCCESS);
        Ok(response)
    }

    /// Calls `function` with the permanent and the volatile state; the latter is empty before TPM2_Startup.
    pub(crate) fn with_state<R>(&mut self, function: impl FnOnce(&[u8], &[u8]) -> R) -> Result<R> {
        let volatile = if self.is_started { Some(self.chip.volatile()?) } else { None };
        Ok(self.chip.permanent(|permanent| function(permanent, volatile.as_deref().unwrap_or_default())))
    }

    /// Makes the random number generator differ from that of any copy of this TPM: TPM2_StirRandom adds entropy and the ID
    /// of this process (Part 3, section 16.2). A TPM that is not started is power-cycled, at which it takes entropy.
    pub(crate) fn reseed(&mut self) -> Result<Reseed> {
        if !self.is_started {
            return self.cycle().map(|()| Reseed::Done);
        }
        let mut command = STIR_RANDOM.to_vec();
        command.extend(std::process::id().to_be_bytes());
        check_reseed(code(&self.chip.process(0, &command)?))
    }
}

/// Checks the response code of TPM2_StirRandom.
fn check_reseed(code: Option<u32>) -> Result<Reseed> {
    match code {
        Some(TPM_RC_SUCCESS) => Ok(Reseed::Done),
        Some(TPM_RC_FAILURE) => Ok(Reseed::InFailureMode),
        _ => Err(fail!(
            ReturnCode::IO_ERROR,
            "the TPM does not reseed its random numbers, which another process may have too: response code {:#x}",
            code.unwrap_or_default()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_reseed_is_an_error_except_in_failure_mode() {
        assert_eq!(check_reseed(Some(TPM_RC_SUCCESS)), Ok(Reseed::Done));
        assert_eq!(check_reseed(Some(TPM_RC_FAILURE)), Ok(Reseed::InFailureMode));
        for code in [Some(TPM_RC_INITIALIZE), None] {
            assert_eq!(check_reseed(code), Err(ReturnCode::IO_ERROR.into()));
        }
    }

    #[test]
    fn startup_is_recognised() {
        assert!(is_startup(&STARTUP_CLEAR));
        assert!(!is_startup(&STIR_RANDOM));
        assert!(!is_startup(&[]));
    }
}
