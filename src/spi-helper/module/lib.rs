// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of `libtss2-tcti-spi-helper.so.0`, for a TPM on an SPI bus that the program drives. The transport is the
//! crate `tcti-spi-helper`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_spi_helper::abi::TSS2_TCTI_SPI_HELPER_PLATFORM;

static INFO: Info = Info::new(
    c"tcti-spi-helper",
    c"TCTI module for a TPM on an SPI bus that the program drives.",
    c"A program passes its functions to Tss2_Tcti_Spi_Helper_Init; see tss2_tcti_spi_helper.h.",
    None,
);

/// Opens the TPM on an SPI bus that the functions in `platform_conf` drive. With a NULL `tctiContext`, writes the size of a
/// context in bytes to `size` and does nothing else; `platform_conf` may then be NULL.
///
/// # Configuration
/// The structure `platform_conf` is copied. After a failure `user_data` still belongs to the caller: `finalize` is not
/// called.
///
/// # Return value
/// `TSS2_TCTI_RC_BAD_VALUE` if a required function is missing, `TSS2_TCTI_RC_IO_ERROR` if a function fails or no TPM
/// responds.
///
/// # Safety
/// `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
/// writable; `platform_conf` is NULL or points to a structure whose functions may be called until Finalize, from the
/// thread that uses the context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Spi_Helper_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    platform_conf: *mut TSS2_TCTI_SPI_HELPER_PLATFORM,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what `init_with` requires, as stated above.
    unsafe { ffi::init_with(tctiContext, size, platform_conf, tcti_spi_helper::open) }
}

/// Returns the description of this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
