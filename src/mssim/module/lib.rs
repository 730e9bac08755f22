// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tcti-mssim.so.0`: the TPM simulators of Microsoft and IBM. The transport is the crate `tcti-mssim`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_mssim::Mssim;

static INFO: Info = Info::new(
    c"tcti-socket",
    c"TCTI module for the TPM simulators of Microsoft and IBM.",
    c"\"host=localhost,port=2321\" or \"path=SOCKET\", in any order also ctrl_port=, ctrl_path=, timeout= (ms).",
    Some(Tss2_Tcti_Mssim_Init),
);

/// Connects to a simulator and switches its power and its NV memory on. With a NULL `tctiContext`, writes the size of a
/// context in bytes to `size`.
///
/// `conf` is `host=H,port=P` (default localhost, 2321) or `path=SOCKET`; the platform channel is at port P + 1 or at
/// SOCKET.ctrl, unless `ctrl_port=` or `ctrl_path=` says otherwise. `timeout=` bounds the time to connect and for a
/// platform command, in milliseconds. `TSS2_TCTI_RC_BAD_VALUE` for a wrong `conf`, `TSS2_TCTI_RC_IO_ERROR` when the
/// simulator does not answer.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Mssim_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above, which are those of `init`.
    unsafe { ffi::init::<Mssim>(tctiContext, size, conf) }
}

/// Sends a command on the platform channel (power, NV, cancel, reset) and waits for its reply; the TPM command under
/// way goes on. `TSS2_TCTI_RC_IO_ERROR` when the simulator refuses it.
///
/// # Safety
/// `tctiContext` is NULL or points to a context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcti_platform_command(tctiContext: *mut TSS2_TCTI_CONTEXT, cmd: u32) -> TSS2_RC {
    // SAFETY: the caller passes a context.
    unsafe { ffi::call::<Mssim>(tctiContext, |session| session.beside(|mssim| mssim.platform(cmd))) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
