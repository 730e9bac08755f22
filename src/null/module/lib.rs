// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of `libtss2-tcti-null.so.0`, which connects to no TPM. The transport is the crate `tcti-null`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_null::Null;

static INFO: Info = Info::new(
    c"tcti-null",
    c"TCTI module that connects to no TPM; it can only be opened and closed.",
    c"The configuration string is ignored.",
    Some(Tss2_Tcti_Null_Init),
);

/// Creates a context without a TPM: every call with it returns `TSS2_TCTI_RC_NOT_IMPLEMENTED`. With a NULL `tctiContext`,
/// writes the size of a context in bytes to `size` and does nothing else. `conf` is ignored.
///
/// # Safety
/// `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
/// writable; `conf` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Null_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what `init` requires, as stated above.
    unsafe { ffi::init::<Null>(tctiContext, size, conf) }
}

/// Returns the description of this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
