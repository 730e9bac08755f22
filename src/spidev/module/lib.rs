// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of `libtss2-tcti-spidev.so.0`, for a TPM on an SPI bus of Linux. The bus is the crate `tcti-spidev`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_spidev::Spidev;
use tcti_tis::Tis;

static INFO: Info = Info::new(
    c"tcti-spidev",
    c"TCTI module for a TPM on an SPI bus, through the spidev driver of Linux.",
    c"Path of a spidev device; by default /dev/spidev0.1.",
    Some(Tss2_Tcti_Spidev_Init),
);

/// Opens the TPM behind a spidev device. With a NULL `tctiContext`, writes the size of a context in bytes to `size` and does
/// nothing else.
///
/// # Configuration
/// `conf` is the path of the device. If it is NULL or empty, /dev/spidev0.1 is used.
///
/// # Return value
/// `TSS2_TCTI_RC_IO_ERROR` if the device does not open or is not a spidev device, or if no TPM responds.
/// `TSS2_TCTI_RC_NOT_PERMITTED` if the system denies access.
///
/// # Safety
/// `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
/// writable; `conf` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Spidev_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what `init` requires, as stated above.
    unsafe { ffi::init::<Tis<Spidev>>(tctiContext, size, conf) }
}

/// Returns the description of this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
