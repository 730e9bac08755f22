// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tcti-device.so.0`: the kernel's TPM devices. The transport is the crate `tcti-device`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_device::Device;
use tcti_ffi::{self as ffi, Info};

static INFO: Info = Info::new(
    c"tcti-device",
    c"TCTI module for the TPM character devices of the kernel.",
    c"Path of a TPM character device; without one the first of /dev/tpmrm0, /dev/tpm0, /dev/tcmrm0, /dev/tcm0 that opens.",
    Some(Tss2_Tcti_Device_Init),
);

/// Opens a TPM character device. With a NULL `tctiContext`, writes the size of a context in bytes to `size`.
///
/// `conf` is the path of the device; NULL or empty takes the first of /dev/tpmrm0, /dev/tpm0, /dev/tcmrm0 and
/// /dev/tcm0 that opens. `TSS2_TCTI_RC_IO_ERROR` when it cannot be opened, `TSS2_TCTI_RC_NOT_PERMITTED` when the
/// system denies access.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Device_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above, which are those of `init`.
    unsafe { ffi::init::<Device>(tctiContext, size, conf) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
