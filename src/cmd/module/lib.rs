// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of `libtss2-tcti-cmd.so.0`, for a TPM behind a command. The transport is the crate `tcti-cmd`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_cmd::Cmd;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};

static INFO: Info = Info::new(
    c"tcti-cmd",
    c"TCTI module that reaches a TPM through the standard streams of a command.",
    c"The command, run by /bin/sh, such as \"ssh HOST tpm2_send\".",
    Some(Tss2_Tcti_Cmd_Init),
);

/// Starts a shell command that reads TPM commands from its standard input and writes responses to its standard output.
/// With a NULL `tctiContext`, writes the size of a context in bytes to `size` and does nothing else.
///
/// # Configuration
/// `conf` is run by `/bin/sh -c`. The command inherits the standard error of the caller.
///
/// # Return value
/// `TSS2_TCTI_RC_BAD_VALUE` if `conf` is NULL or empty.
///
/// # Safety
/// `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
/// writable; `conf` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Cmd_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what `init` requires, as stated above.
    unsafe { ffi::init::<Cmd>(tctiContext, size, conf) }
}

/// Returns the description of this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
