// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tcti-spi-ltt2go.so.0`: the TPM on a LetsTrust-TPM2Go, a USB stick. The transport is the crate
//! `tcti-spi-ltt2go`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_spi_ltt2go::Tpm2Go;

static INFO: Info = Info::new(
    c"tcti-spi-ltt2go",
    c"TCTI module for the LetsTrust-TPM2Go, a TPM on a USB stick.",
    c"Extended regular expression that the stick's serial number matches; without one the first stick that opens.",
    Some(Tss2_Tcti_Spi_Ltt2go_Init),
);

/// Opens the TPM on a LetsTrust-TPM2Go. With a NULL `tctiContext`, writes the size of a context in bytes to `size`.
///
/// `conf` is an extended regular expression (POSIX) that the serial number of the stick matches, in any part; NULL or
/// empty is the first stick that opens. `TSS2_TCTI_RC_BAD_VALUE` when it is none, `TSS2_TCTI_RC_IO_ERROR` when there
/// is no such stick, another program uses it or its TPM does not answer, `TSS2_TCTI_RC_NOT_PERMITTED` when the system
/// denies access.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Spi_Ltt2go_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above, which are those of `init`.
    unsafe { ffi::init::<Tpm2Go>(tctiContext, size, conf) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
