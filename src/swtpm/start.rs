// SPDX-License-Identifier: BSD-2-Clause
//! A swtpm that was started without `--flags not-need-init` answers each command with TPM_RC_FAILURE until somebody sends
//! CMD_INIT on the control channel: [`start`] does, and [`explain`] says so.
#![forbid(unsafe_code)]

use crate::Swtpm;
use tcti_core::header::Header;
use tcti_core::{Progress, Result, ReturnCode, RxBuf, Transport, Wait, fail};

/// TPM2_Startup(TPM_SU_CLEAR) (TPM 2.0 Library Part 3, section 9.3).
const STARTUP_CLEAR: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];

/// Response codes (Part 2, section 6.6): success, "was started already", and failure mode.
const TPM_RC_SUCCESS: u32 = 0;
const TPM_RC_INITIALIZE: u32 = 0x100;
const TPM_RC_FAILURE: u32 = 0x101;

/// Sees to it that the TPM is initialised and started. One that is keeps what is loaded.
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

/// The response code.
fn startup(swtpm: &mut Swtpm) -> Result<u32> {
    let mut rx = RxBuf::new();
    swtpm.send(&STARTUP_CLEAR)?;
    while swtpm.recv(&mut rx, Wait::Forever)? != Progress::Complete {}
    swtpm.response_taken();
    Ok(Header::parse(rx.as_slice()).map_or(u32::MAX, |header| header.code))
}

/// Says what is wrong when this is the answer of a swtpm that was not initialised. `false` when it is not.
pub(crate) fn explain(response: &[u8], name: &str) -> bool {
    let is_it = Header::parse(response).is_some_and(|header| header.code == TPM_RC_FAILURE);
    if is_it {
        log::warn!(
            "the TPM of {name} answers TPM_RC_FAILURE (0x101), as a swtpm does that was not initialised: start it with \
             --flags not-need-init,startup-clear, or open it with init=true"
        );
    }
    is_it
}
