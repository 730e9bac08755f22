// SPDX-License-Identifier: BSD-2-Clause
//! A TPM on an SPI bus that the program drives with its own functions: [`open`].

pub mod abi;
mod sys;

use abi::TSS2_TCTI_SPI_HELPER_PLATFORM;
use tcti_core::{Result, ReturnCode, fail};
use tcti_tis::Tis;

pub use sys::Platform;

/// Opens the TPM. On success the transport owns `user_data`, and calls `finalize` when it is dropped; on an error
/// `user_data` still belongs to the caller.
pub fn open(platform: Option<&TSS2_TCTI_SPI_HELPER_PLATFORM>) -> Result<Tis<Platform>> {
    let platform =
        platform.ok_or_else(|| fail!(ReturnCode::BAD_VALUE, "the pointer to the functions of the platform is NULL"))?;
    let mut tis = Tis::over(Platform::new(*platform)?)?;
    tis.bus_mut().take_ownership();
    Ok(tis)
}
