// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of `libtss2-tcti-spi-ltt2go.so.0`, for the TPM on a LetsTrust-TPM2Go, a USB stick. The transport is the
//! crate `tcti-spi-ltt2go`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_spi_ltt2go::Tpm2Go;

static INFO: Info = Info::new(
    c"tcti-spi-ltt2go",
    c"TCTI module for the LetsTrust-TPM2Go, a TPM on a USB stick.",
    c"Extended regular expression that the stick's serial number matches; by default the first stick that opens.",
    Some(Tss2_Tcti_Spi_Ltt2go_Init),
);

/// Opens the TPM on a LetsTrust-TPM2Go. With a NULL `tctiContext`, writes the size of a context in bytes to `size` and does
/// nothing else.
///
/// # Configuration
/// `conf` is an extended regular expression that matches any part of the serial number of the stick. If it is NULL or
/// empty, the first stick that opens is used.
///
/// # Return value
/// `TSS2_TCTI_RC_BAD_VALUE` if `conf` is not a regular expression, `TSS2_TCTI_RC_IO_ERROR` if no stick matches, another
/// program uses it or its TPM does not respond, `TSS2_TCTI_RC_NOT_PERMITTED` if the system denies access.
///
/// # Safety
/// `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
/// writable; `conf` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Spi_Ltt2go_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what `init` requires, as stated above.
    unsafe { ffi::init::<Tpm2Go>(tctiContext, size, conf) }
}

/// Returns the description of this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
