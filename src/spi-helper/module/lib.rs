// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tcti-spi-helper.so.0`: a TPM on a SPI bus that the program drives. The transport is the crate
//! `tcti-spi-helper`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};

use tcti_spi_helper::abi::TSS2_TCTI_SPI_HELPER_PLATFORM;

static INFO: Info = Info::new(
    c"tcti-spi-helper",
    c"TCTI module for a TPM on a SPI bus that the program drives.",
    c"A program passes its functions to Tss2_Tcti_Spi_Helper_Init; see tss2_tcti_spi_helper.h.",
    None,
);

/// Opens the TPM on a SPI bus that the functions of `platform_conf` drive. With a NULL `tctiContext`, writes the size
/// of a context in bytes to `size`; `platform_conf` may be NULL then.
///
/// The structure is copied. `TSS2_TCTI_RC_BAD_VALUE` when a function that is required is missing,
/// `TSS2_TCTI_RC_IO_ERROR` when one fails or no TPM answers. After a failure `user_data` is still the caller's:
/// `finalize` is not called.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `platform_conf` is
/// NULL or points to a structure whose functions may be called until Finalize, from the thread that uses the context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Spi_Helper_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    platform_conf: *mut TSS2_TCTI_SPI_HELPER_PLATFORM,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above, which are those of `init_with`.
    unsafe { ffi::init_with(tctiContext, size, platform_conf, tcti_spi_helper::open) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
