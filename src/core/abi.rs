// SPDX-License-Identifier: BSD-2-Clause
//! The C types of a TCTI, laid out as in the TCG "TSS 2.0 TCTI API" v1.0, section 3, and in `tss2_tcti.h`. Names are
//! exactly those of C. Function types are written inline, for cbindgen.

#![expect(non_camel_case_types, non_snake_case, reason = "C names")]

use core::ffi::c_char;
use core::mem::offset_of;

/// Return code of every TSS function; 0 is success. The layer is in bits 16 to 23, the code in bits 0 to 15.
pub type TSS2_RC = u32;
/// Success in every layer.
pub const TSS2_RC_SUCCESS: TSS2_RC = 0;
/// An entry for `poll(2)`.
pub type TSS2_TCTI_POLL_HANDLE = libc::pollfd;
/// The version of the context and of the info structure that these modules implement.
pub const TCTI_VERSION: u32 = 2;

/// Opaque to C; its first bytes are a [`TSS2_TCTI_CONTEXT_COMMON_V2`].
#[repr(C)]
pub struct TSS2_TCTI_CONTEXT {
    _opaque: [u8; 0],
}

/// Common head of a context, version 1: 64 bytes on 64-bit systems.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TSS2_TCTI_CONTEXT_COMMON_V1 {
    /// Identifies the module that made the context.
    pub magic: u64,
    /// Version of this structure.
    pub version: u32,
    /// Sends a command: context, size in bytes, command.
    pub transmit: Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT, size: usize, command: *const u8) -> TSS2_RC>,
    /// Receives a response: context, size in bytes (in: of the buffer, out: of the response), buffer, time-out in
    /// milliseconds.
    pub receive: Option<
        unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT, size: *mut usize, response: *mut u8, timeout: i32) -> TSS2_RC,
    >,
    /// Releases what the context owns, but not the memory of the context.
    pub finalize: Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT)>,
    /// Cancels the command in progress.
    pub cancel: Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC>,
    /// Returns the handles to `poll(2)` for a response: context, array or NULL, count (in: of the array, out: of the
    /// handles).
    pub getPollHandles: Option<
        unsafe extern "C" fn(
            ctx: *mut TSS2_TCTI_CONTEXT,
            handles: *mut TSS2_TCTI_POLL_HANDLE,
            num_handles: *mut usize,
        ) -> TSS2_RC,
    >,
    /// Sets the locality of later commands.
    pub setLocality: Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT, locality: u8) -> TSS2_RC>,
}

/// Common head of a context, version 2: 72 bytes on 64-bit systems.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TSS2_TCTI_CONTEXT_COMMON_V2 {
    /// The head as in version 1.
    pub v1: TSS2_TCTI_CONTEXT_COMMON_V1,
    /// Makes a handle persist in a resource manager: context, handle, whether it is sticky.
    pub makeSticky: Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT, handle: *mut u32, sticky: u8) -> TSS2_RC>,
}

/// The description of a module that `Tss2_Tcti_Info` returns: 40 bytes on 64-bit systems.
#[repr(C)]
pub struct TSS2_TCTI_INFO {
    /// The version of this structure and of the contexts that `init` creates.
    pub version: u32,
    /// The name of the module.
    pub name: *const c_char,
    /// One sentence about what the module connects to.
    pub description: *const c_char,
    /// The form of the configuration string.
    pub config_help: *const c_char,
    /// Creates a context: memory or NULL, size in bytes, configuration string or NULL.
    pub init:
        Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT, size: *mut usize, conf: *const c_char) -> TSS2_RC>,
}

/// `c-tests/layout.c` asserts the same numbers for the C declarations. On 32-bit systems a `uint64_t` is aligned to 8 bytes,
/// which adds padding at the end of a head, except on i386, where it is aligned to 4.
const _: () = {
    const POINTER: usize = size_of::<usize>();
    let (v1, v2) = match (POINTER, align_of::<u64>()) {
        (8, _) => (64, 72),
        (_, 8) => (40, 48),
        _ => (36, 40),
    };
    assert!(size_of::<TSS2_TCTI_CONTEXT_COMMON_V1>() == v1);
    assert!(size_of::<TSS2_TCTI_CONTEXT_COMMON_V2>() == v2);
    assert!(offset_of!(TSS2_TCTI_CONTEXT_COMMON_V1, version) == 8);
    assert!(offset_of!(TSS2_TCTI_CONTEXT_COMMON_V1, transmit) == 8 + POINTER);
    assert!(offset_of!(TSS2_TCTI_CONTEXT_COMMON_V1, setLocality) == 8 + 6 * POINTER);
    assert!(offset_of!(TSS2_TCTI_CONTEXT_COMMON_V2, makeSticky) == v1);
    assert!(size_of::<TSS2_TCTI_INFO>() == 5 * POINTER);
};
