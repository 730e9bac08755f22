// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of `libtss2-tcti-device.so.0`, for the TPM devices of the kernel. The transport is the crate
//! `tcti-device`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_device::Device;
use tcti_ffi::{self as ffi, Info};

static INFO: Info = Info::new(
    c"tcti-device",
    c"TCTI module for the TPM character devices of the kernel.",
    c"Path of a TPM character device; by default the first of /dev/tpmrm0, /dev/tpm0, /dev/tcmrm0, /dev/tcm0 that opens.",
    Some(Tss2_Tcti_Device_Init),
);

/// Opens a TPM character device. With a NULL `tctiContext`, writes the size of a context in bytes to `size` and does
/// nothing else.
///
/// # Configuration
/// `conf` is the path of the device. If it is NULL or empty, the first of /dev/tpmrm0, /dev/tpm0, /dev/tcmrm0 and
/// /dev/tcm0 that opens is used.
///
/// # Return value
/// `TSS2_TCTI_RC_IO_ERROR` if the device cannot be opened, `TSS2_TCTI_RC_NOT_PERMITTED` if the system denies access.
///
/// # Safety
/// `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
/// writable; `conf` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Device_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what `init` requires, as stated above.
    unsafe { ffi::init::<Device>(tctiContext, size, conf) }
}

/// Returns the description of this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
