// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tcti-spidev.so.0`: a TPM on a SPI bus of Linux. The bus is the crate `tcti-spidev`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_spidev::Spidev;
use tcti_tis::Tis;

static INFO: Info = Info::new(
    c"tcti-spidev",
    c"TCTI module for a TPM on a SPI bus, by the spidev driver of Linux.",
    c"Path of a spidev device; without one /dev/spidev0.1.",
    Some(Tss2_Tcti_Spidev_Init),
);

/// Opens the TPM behind a spidev device. With a NULL `tctiContext`, writes the size of a context in bytes to `size`.
///
/// `conf` is the path of the device; NULL or empty is /dev/spidev0.1. `TSS2_TCTI_RC_IO_ERROR` when it does not open,
/// is no spidev device or no TPM answers, `TSS2_TCTI_RC_NOT_PERMITTED` when the system denies access.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Spidev_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above, which are those of `init`.
    unsafe { ffi::init::<Tis<Spidev>>(tctiContext, size, conf) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
