// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of `libtss2-tcti-swtpm.so.0`, for the TPM emulator swtpm. The transport is the crate `tcti-swtpm`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_swtpm::Swtpm;

static INFO: Info = Info::new(
    c"tcti-swtpm",
    c"TCTI module for the TPM emulator swtpm.",
    c"\"host=localhost,port=2321\" or \"path=SOCKET\"; further keys: ctrl_port=, ctrl_path=, timeout= (ms), keep=true, \
      init=true.",
    Some(Tss2_Tcti_Swtpm_Init),
);

/// Connects to swtpm. With a NULL `tctiContext`, writes the size of a context in bytes to `size` and does nothing else.
///
/// # Configuration
/// `conf` is `host=H,port=P` (default localhost, 2321) or `path=SOCKET`. The control channel is at port P + 1 or at
/// SOCKET.ctrl, unless `ctrl_port=` or `ctrl_path=` is set. `timeout=` limits the time for a connection attempt and for a
/// control command, in milliseconds. `keep=true` keeps the connection open between commands. `init=true` initialises swtpm
/// if that was not done yet, and sends TPM2_Startup.
///
/// # Return value
/// `TSS2_TCTI_RC_BAD_VALUE` if `conf` is invalid, `TSS2_TCTI_RC_IO_ERROR` if swtpm does not respond.
///
/// # Safety
/// `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
/// writable; `conf` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Swtpm_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what `init` requires, as stated above.
    unsafe { ffi::init::<Swtpm>(tctiContext, size, conf) }
}

/// Power-cycles the emulated TPM (CMD_INIT, which deletes the volatile state). The command in progress is lost.
///
/// # Safety
/// `tctiContext` is NULL or points to a live context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Swtpm_Reset(tctiContext: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: the caller passes NULL or a live context.
    unsafe { ffi::call::<Swtpm>(tctiContext, |session| session.preempt(Swtpm::reset)) }
}

/// Returns the description of this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
