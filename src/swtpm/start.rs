// SPDX-License-Identifier: BSD-2-Clause
//! Handles a swtpm that was started without `--flags not-need-init`: it answers each command with TPM_RC_FAILURE until it
//! receives CMD_INIT on the control channel. [`start`] sends it, and [`explain`] logs what to do.
#![forbid(unsafe_code)]

use crate::Swtpm;
use tcti_core::header::Header;
use tcti_core::{Progress, Result, ReturnCode, RxBuf, Transport, Wait, fail};

/// TPM2_Startup(TPM_SU_CLEAR) (TPM 2.0 Library Part 3, section 9.3).
const STARTUP_CLEAR: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];

/// Response codes (Part 2, section 6.6): success, already started, and failure mode.
const TPM_RC_SUCCESS: u32 = 0;
const TPM_RC_INITIALIZE: u32 = 0x100;
const TPM_RC_FAILURE: u32 = 0x101;

/// Initialises and starts the TPM. A TPM that is already started keeps its loaded objects.
pub(crate) fn start(swtpm: &mut Swtpm) -> Result<()> {
    let mut code = startup(swtpm)?;
    if code == TPM_RC_FAILURE {
        swtpm.initialise()?;
        code = startup(swtpm)?;
    }
    match code {
        TPM_RC_SUCCESS | TPM_RC_INITIALIZE => Ok(()),
        code => Err(fail!(ReturnCode::IO_ERROR, "the TPM of {} does not start: response code {code:#x}", swtpm.name())),
    }
}

/// Sends TPM2_Startup and returns the response code, or `u32::MAX` for a response without a valid header.
fn startup(swtpm: &mut Swtpm) -> Result<u32> {
    let mut rx = RxBuf::new();
    swtpm.send(&STARTUP_CLEAR)?;
    while swtpm.recv(&mut rx, Wait::Forever)? != Progress::Complete {}
    Ok(Header::parse(rx.as_slice()).map_or(u32::MAX, |header| header.code))
}

/// Logs how to initialise the swtpm if `response` is TPM_RC_FAILURE. Returns whether it is.
pub(crate) fn explain(response: &[u8], name: &str) -> bool {
    let is_failure = Header::parse(response).is_some_and(|header| header.code == TPM_RC_FAILURE);
    if is_failure {
        log::warn!(
            "the TPM of {name} answers TPM_RC_FAILURE (0x101), as a swtpm does that was not initialised: start it with \
             --flags not-need-init,startup-clear, or open it with init=true"
        );
    }
    is_failure
}
