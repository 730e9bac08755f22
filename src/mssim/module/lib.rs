// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of `libtss2-tcti-mssim.so.0`, for the TPM simulators of Microsoft and IBM. The transport is the crate
//! `tcti-mssim`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_mssim::Mssim;

static INFO: Info = Info::new(
    c"tcti-socket",
    c"TCTI module for the TPM simulators of Microsoft and IBM.",
    c"\"host=localhost,port=2321\" or \"path=SOCKET\"; further keys: ctrl_port=, ctrl_path=, timeout= (ms).",
    Some(Tss2_Tcti_Mssim_Init),
);

/// Connects to a simulator and switches its power and its NV memory on. With a NULL `tctiContext`, writes the size of a
/// context in bytes to `size` and does nothing else.
///
/// # Configuration
/// `conf` is `host=H,port=P` (default localhost, 2321) or `path=SOCKET`. The platform channel is at port P + 1 or at
/// SOCKET.ctrl, unless `ctrl_port=` or `ctrl_path=` is set. `timeout=` limits the time for a connection attempt and for a
/// platform command, in milliseconds.
///
/// # Return value
/// `TSS2_TCTI_RC_BAD_VALUE` if `conf` is invalid, `TSS2_TCTI_RC_IO_ERROR` if the simulator does not respond.
///
/// # Safety
/// `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
/// writable; `conf` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Mssim_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what `init` requires, as stated above.
    unsafe { ffi::init::<Mssim>(tctiContext, size, conf) }
}

/// Sends a command on the platform channel (power, NV, cancel, reset) and waits for its reply. The TPM command in progress
/// continues.
///
/// # Return value
/// `TSS2_TCTI_RC_IO_ERROR` if the simulator rejects the command.
///
/// # Safety
/// `tctiContext` is NULL or points to a live context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcti_platform_command(tctiContext: *mut TSS2_TCTI_CONTEXT, cmd: u32) -> TSS2_RC {
    // SAFETY: the caller passes NULL or a live context.
    unsafe { ffi::call::<Mssim>(tctiContext, |session| session.alongside(|mssim| mssim.platform(cmd))) }
}

/// Returns the description of this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
