// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of `libtss2-tcti-libtpms.so.0`, for a TPM inside the process, emulated by libtpms. The transport is
//! the crate `tcti-libtpms`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_libtpms::Libtpms;

static INFO: Info = Info::new(
    c"tcti-libtpms",
    c"TCTI module for a TPM inside the process, emulated by libtpms.",
    c"Path of the TPM's state file; without one the state is lost with the context.",
    Some(Tss2_Tcti_Libtpms_Init),
);

/// Powers on a TPM inside this process, which can have only one at a time. With a NULL `tctiContext`, writes the size of
/// a context in bytes to `size` and does nothing else.
///
/// # Configuration
/// `conf` is the path of the state file, which is created if it does not exist. If it is NULL or empty, the state is only
/// in memory.
///
/// # Return value
/// `TSS2_TCTI_RC_IO_ERROR` if this process already has a TPM, or if the state file is damaged or in use.
/// `TSS2_TCTI_RC_NOT_PERMITTED` if the state file belongs to another user.
///
/// # Safety
/// `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
/// writable; `conf` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Libtpms_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what `init` requires, as stated above.
    unsafe { ffi::init::<Libtpms>(tctiContext, size, conf) }
}

/// Power-cycles the TPM: its volatile state and the command in progress are lost. The next command may be TPM2_Startup;
/// before any other command the module sends TPM2_Startup itself.
///
/// # Safety
/// `tctiContext` is NULL or points to a live context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Libtpms_Reset(tctiContext: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: the caller passes NULL or a live context.
    unsafe { ffi::call::<Libtpms>(tctiContext, |session| session.preempt(Libtpms::reset)) }
}

/// Returns the description of this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
