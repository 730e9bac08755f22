// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tcti-swtpm.so.0`: the TPM emulator swtpm. The transport is the crate `tcti-swtpm`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_swtpm::Swtpm;

static INFO: Info = Info::new(
    c"tcti-swtpm",
    c"TCTI module for the TPM emulator swtpm.",
    c"\"host=localhost,port=2321\" or \"path=SOCKET\", in any order also ctrl_port=, ctrl_path=, timeout= (ms), keep=true, \
      init=true.",
    Some(Tss2_Tcti_Swtpm_Init),
);

/// Connects to a swtpm. With a NULL `tctiContext`, writes the size of a context in bytes to `size`.
///
/// `conf` is `host=H,port=P` (default localhost, 2321) or `path=SOCKET`; the control channel is at port P + 1 or at
/// SOCKET.ctrl, unless `ctrl_port=` or `ctrl_path=` says otherwise. `timeout=` bounds the time to connect and for a
/// control command, in milliseconds. `keep=true` keeps the connection open between commands. `init=true` initialises a
/// swtpm that was not, and sends TPM2_Startup. `TSS2_TCTI_RC_BAD_VALUE` for a wrong `conf`, `TSS2_TCTI_RC_IO_ERROR` when
/// the swtpm does not answer.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Swtpm_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above, which are those of `init`.
    unsafe { ffi::init::<Swtpm>(tctiContext, size, conf) }
}

/// Power-cycles the emulated TPM (CMD_INIT with volatile state deleted); a command under way is lost.
///
/// # Safety
/// `tctiContext` is NULL or points to a context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Swtpm_Reset(tctiContext: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: the caller passes a context.
    unsafe { ffi::call::<Swtpm>(tctiContext, |session| session.preempt(Swtpm::reset)) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
