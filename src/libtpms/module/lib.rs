// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tcti-libtpms.so.0`: a TPM inside the process, by libtpms. The transport is the crate `tcti-libtpms`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_libtpms::Libtpms;

static INFO: Info = Info::new(
    c"tcti-libtpms",
    c"TCTI module for a TPM inside the process, by libtpms.",
    c"Path of the file that keeps the TPM's state; without one it lives as long as the context.",
    Some(Tss2_Tcti_Libtpms_Init),
);

/// Powers on a TPM inside this process. With a NULL `tctiContext`, writes the size of a context in bytes to `size`.
///
/// `conf` is the path of a state file, made when it is missing; NULL or empty keeps the TPM in memory. One TPM per
/// process: a second context is `TSS2_TCTI_RC_IO_ERROR`, and so is a state file that is damaged or in use. That of another
/// user is `TSS2_TCTI_RC_NOT_PERMITTED`.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Libtpms_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above, which are those of `init`.
    unsafe { ffi::init::<Libtpms>(tctiContext, size, conf) }
}

/// Power-cycles the TPM: volatile state and a command under way are lost. TPM2_Startup may follow; before any other
/// command it is sent.
///
/// # Safety
/// `tctiContext` is NULL or points to a context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Libtpms_Reset(tctiContext: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: the caller passes a context.
    unsafe { ffi::call::<Libtpms>(tctiContext, |session| session.preempt(Libtpms::reset)) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
