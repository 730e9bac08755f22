// SPDX-License-Identifier: BSD-2-Clause
//! Locality 0, without which the TPM takes no commands: [`claim`] when the context opens, [`release`] when it ends.

use crate::bus::Bus;
use crate::clock::Backoff;
use crate::frame;
use crate::registers::{Access, Register, TIMEOUT_A};
use tcti_core::{Result, ReturnCode, Wait, fail};

/// Reads and logs the vendor of the TPM, which any TPM reports at any time. On a dead bus all bytes read 0 or 0xff.
pub(crate) fn identify<B: Bus>(bus: &mut B) -> Result<()> {
    let mut backoff = Backoff::new(Wait::Millis(TIMEOUT_A));
    let did_vid = loop {
        let mut did_vid = [0; 4];
        frame::read(bus, Register::DidVid, &mut did_vid)?;
        match u32::from_le_bytes(did_vid) {
            // A TPM in reset also reads like that.
            dead @ (0 | u32::MAX) => {
                if backoff.pause(bus.clock())?.is_none() {
                    return Err(fail!(
                        ReturnCode::IO_ERROR,
                        "no TPM answers: its vendor reads {dead:#010x}. Is there a TPM at this chip select, does it \
                         have power, and is its reset released?"
                    ));
                }
            }
            did_vid => break did_vid,
        }
    };
    let mut rid = [0];
    frame::read(bus, Register::Rid, &mut rid)?;
    log::debug!("TPM of vendor {:#06x}, device {:#06x}, revision {:#04x}", did_vid & 0xffff, did_vid >> 16, rid[0]);
    Ok(())
}

/// Claims the locality, unless it is already active.
pub(crate) fn claim<B: Bus>(bus: &mut B) -> Result<()> {
    if access(bus)?.is_ours() {
        return Ok(());
    }
    frame::write(bus, Register::Access, &[Access::REQUEST_USE])?;
    let mut backoff = Backoff::new(Wait::Millis(TIMEOUT_A));
    loop {
        let access = access(bus)?;
        if access.is_ours() {
            return Ok(());
        }
        if backoff.pause(bus.clock())?.is_none() {
            release(bus)?;
            if !access.is_valid() {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM no longer answers: its access register reads {:#04x}",
                    access.0
                ));
            }
            return Err(fail!(
                ReturnCode::IO_ERROR,
                "the TPM does not grant locality 0 within {TIMEOUT_A} ms (its access register reads {:#04x}). Another \
                 program, or the kernel's driver, has another locality",
                access.0
            ));
        }
    }
}

/// Relinquishes the locality, or withdraws the request for it.
pub(crate) fn release<B: Bus>(bus: &mut B) -> Result<()> {
    frame::write(bus, Register::Access, &[Access::ACTIVE_LOCALITY])
}

/// Reads the access register.
pub(crate) fn access<B: Bus>(bus: &mut B) -> Result<Access> {
    let mut access = [0];
    frame::read(bus, Register::Access, &mut access)?;
    Ok(Access(access[0]))
}
