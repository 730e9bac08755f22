// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tcti-null.so.0`: no TPM at all. The transport is the crate `tcti-null`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_null::Null;

static INFO: Info = Info::new(
    c"tcti-null",
    c"TCTI module that reaches no TPM; it only opens and closes.",
    c"Nothing is configured.",
    Some(Tss2_Tcti_Null_Init),
);

/// Makes a context that reaches no TPM: every call on it is `TSS2_TCTI_RC_NOT_IMPLEMENTED`. With a NULL `tctiContext`,
/// writes the size of a context in bytes to `size`. `conf` does not count.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Null_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above, which are those of `init`.
    unsafe { ffi::init::<Null>(tctiContext, size, conf) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
