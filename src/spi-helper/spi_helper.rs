// SPDX-License-Identifier: BSD-2-Clause
//! A TPM on a SPI bus that the program drives with functions of its own: [`open`].

pub mod abi;
mod sys;

use abi::TSS2_TCTI_SPI_HELPER_PLATFORM;
use tcti_core::{Result, ReturnCode, fail};
use tcti_tis::Tis;

pub use sys::Platform;

/// Opens the TPM. After success the platform is ours, so that its `finalize` is called at the end; after an error
/// `user_data` still belongs to the caller.
pub fn open(platform: Option<&TSS2_TCTI_SPI_HELPER_PLATFORM>) -> Result<Tis<Platform>> {
    let platform =
        platform.ok_or_else(|| fail!(ReturnCode::BAD_VALUE, "the pointer to the functions of the platform is NULL"))?;
    let mut tis = Tis::over(Platform::new(*platform)?)?;
    tis.bus_mut().keep();
    Ok(tis)
}
