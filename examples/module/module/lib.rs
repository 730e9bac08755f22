// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tcti-example.so.0`: a TPM behind a Unix socket. The transport is the crate `tcti-example`.
#![expect(unsafe_code, non_snake_case, reason = "C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_example::Example;
use tcti_ffi::{self as ffi, Info};

static INFO: Info = Info::new(
    c"tcti-example",
    c"TCTI module for a TPM behind a Unix socket.",
    c"Path of the socket.",
    Some(Tss2_Tcti_Example_Init),
);

/// Connects to a TPM behind a Unix socket. If `tctiContext` is NULL, writes the size of a context in bytes to `size`.
///
/// `conf` is the path of the socket. Returns `TSS2_TCTI_RC_BAD_VALUE` without a path, and `TSS2_TCTI_RC_IO_ERROR` when the
/// server does not answer.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size that was returned; `size` is NULL or writable; `conf` is NULL or a
/// C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Example_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller upholds the contract above, which is that of `init`.
    unsafe { ffi::init::<Example>(tctiContext, size, conf) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
