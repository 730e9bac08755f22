// SPDX-License-Identifier: BSD-2-Clause
//! Power and Startup. A [`Tpm`] that was powered on waits for the caller's TPM2_Startup; when the first command is another
//! one, TPM2_Startup(CLEAR) goes before it, as the firmware of a machine sends it.
#![forbid(unsafe_code)]

use crate::sys::{Blobs, Chip, copy};
use tcti_core::header::Header;
use tcti_core::{Result, ReturnCode, fail};

/// TPM2_Startup(TPM_SU_CLEAR) (TPM 2.0 Library Part 3, section 9.3).
pub(crate) const STARTUP_CLEAR: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];
const TPM_CC_STARTUP: u32 = 0x144;

/// TPM2_StirRandom of 4 bytes, which follow (Part 3, section 16.2).
const STIR_RANDOM: [u8; 12] = [0x80, 0x01, 0, 0, 0, 16, 0, 0, 0x01, 0x46, 0, 4];

/// Response codes of Startup that leave the TPM running: success, and "was started already" (Part 2, section 6.6).
pub(crate) const TPM_RC_SUCCESS: u32 = 0;
pub(crate) const TPM_RC_INITIALIZE: u32 = 0x100;
/// The TPM is in failure mode (Part 2, section 6.6).
pub(crate) const TPM_RC_FAILURE: u32 = 0x101;

/// A chip, and whether it had its Startup.
pub(crate) struct Tpm {
    chip: Chip,
    is_started: bool,
}

/// What the generator of random numbers is like.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Generator {
    /// It is this TPM's alone.
    Own,
    /// It is as before: a TPM in failure mode cannot stir, and gives no random numbers.
    AsBefore,
}

/// Whether this is TPM2_Startup.
pub(crate) fn is_startup(command: &[u8]) -> bool {
    Header::parse(command).is_some_and(|header| header.code == TPM_CC_STARTUP)
}

fn code(response: &[u8]) -> Option<u32> {
    Header::parse(response).map(|header| header.code)
}

impl Tpm {
    /// The chip of this process.
    pub(crate) fn take() -> Result<Tpm> {
        Ok(Tpm { chip: Chip::take()?, is_started: false })
    }

    /// Powers on. A TPM with a volatile state carries on where that was taken, and is started if it was not then.
    pub(crate) fn power_on(&mut self, state: Blobs) -> Result<()> {
        let carries_on = !state.volatile.is_empty();
        self.is_started = false;
        self.chip.power_on(state)?;
        if carries_on { self.start() } else { Ok(()) }
    }

    /// Power off and on; what is volatile is lost, as on a machine's reset.
    pub(crate) fn cycle(&mut self) -> Result<()> {
        let permanent = self.chip.permanent(copy)?;
        self.power_on(Blobs { permanent, volatile: Vec::new() })
    }

    /// The same, unless the TPM waits for its Startup already.
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
    pub(crate) fn execute(&mut self, locality: u8, command: &[u8]) -> Result<Vec<u8>> {
        let is_startup = is_startup(command);
        if !is_startup && !self.is_started {
            self.start()?;
        }
        let response = self.chip.process(locality, command)?;
        self.is_started |= is_startup && code(&response) == Some(TPM_RC_SUCCESS);
        Ok(response)
    }

    /// Passes on the permanent state and the volatile one, which is empty before Startup.
    pub(crate) fn with_state<R>(&mut self, function: impl FnOnce(&[u8], &[u8]) -> R) -> Result<R> {
        let volatile = if self.is_started { Some(self.chip.volatile()?) } else { None };
        Ok(self.chip.permanent(|permanent| function(permanent, volatile.as_deref().unwrap_or_default())))
    }

    /// Has the generator of random numbers go a way of its own: the TPM takes entropy, and the number of this process
    /// (Part 3, TPM2_StirRandom). Before Startup it takes entropy when it is powered on.
    pub(crate) fn stir(&mut self) -> Result<Generator> {
        if !self.is_started {
            return self.cycle().map(|()| Generator::Own);
        }
        let mut command = STIR_RANDOM.to_vec();
        command.extend(std::process::id().to_be_bytes());
        stirred(code(&self.chip.process(0, &command)?))
    }

    /// This process was forked.
    pub(crate) fn after_fork(&mut self) {
        self.chip.after_fork();
    }
}

/// What the response code of TPM2_StirRandom says.
fn stirred(code: Option<u32>) -> Result<Generator> {
    match code {
        Some(TPM_RC_SUCCESS) => Ok(Generator::Own),
        Some(TPM_RC_FAILURE) => Ok(Generator::AsBefore),
        _ => Err(fail!(
            ReturnCode::IO_ERROR,
            "the TPM does not stir its random numbers, which another process may have, too: response code {:#x}",
            code.unwrap_or_default()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tpm_in_failure_mode_may_stay_a_copy() {
        assert_eq!(stirred(Some(TPM_RC_SUCCESS)), Ok(Generator::Own));
        assert_eq!(stirred(Some(TPM_RC_FAILURE)), Ok(Generator::AsBefore));
        for code in [Some(TPM_RC_INITIALIZE), None] {
            assert_eq!(stirred(code), Err(ReturnCode::IO_ERROR.into()));
        }
    }

    #[test]
    fn startup_is_told_from_other_commands() {
        assert!(is_startup(&STARTUP_CLEAR));
        assert!(!is_startup(&STIR_RANDOM));
        assert!(!is_startup(&[]));
    }
}
