// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tcti-cmd.so.0`: a TPM behind a command. The transport is the crate `tcti-cmd`.
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

/// Starts a command that carries TPM commands on its standard input and responses on its standard output. With a NULL
/// `tctiContext`, writes the size of a context in bytes to `size`.
///
/// `conf` is run by `/bin/sh -c`; without one it is `TSS2_TCTI_RC_BAD_VALUE`. The command's standard error is the
/// caller's.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Cmd_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above, which are those of `init`.
    unsafe { ffi::init::<Cmd>(tctiContext, size, conf) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
