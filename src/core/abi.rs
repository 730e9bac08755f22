// SPDX-License-Identifier: BSD-2-Clause
//! The C types of a TCTI, as laid out by the TCG "TSS 2.0 TCTI API" v1.0, section 3, and by
//! `tss2_tcti.h`. Names are exactly C's. Function types are written inline, for cbindgen.

#![expect(non_camel_case_types, non_snake_case, reason = "C names")]

use core::ffi::c_char;
use core::mem::offset_of;

/// Return code of every TSS function; 0 is success. Layout: layer in bits 16..23, code in bits 0..15.
pub type TSS2_RC = u32;
/// Success in every layer.
pub const TSS2_RC_SUCCESS: TSS2_RC = 0;
/// What `poll(2)` takes.
pub type TSS2_TCTI_POLL_HANDLE = libc::pollfd;
/// Version of the context and of the info structure that we implement.
pub const TCTI_VERSION: u32 = 2;

/// Opaque to C; its first bytes are a [`TSS2_TCTI_CONTEXT_COMMON_V2`].
#[repr(C)]
pub struct TSS2_TCTI_CONTEXT {
    _opaque: [u8; 0],
}

/// Common head of a context, version 1: 64 bytes on 64-bit machines.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TSS2_TCTI_CONTEXT_COMMON_V1 {
    /// Names the module that owns the context.
    pub magic: u64,
    /// Version of this structure.
    pub version: u32,
    /// Sends a command: context, size in bytes, command.
    pub transmit: Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT, size: usize, command: *const u8) -> TSS2_RC>,
    /// Collects a response: context, size in bytes (in: room, out: size), buffer, time-out in milliseconds.
    pub receive: Option<
        unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT, size: *mut usize, response: *mut u8, timeout: i32) -> TSS2_RC,
    >,
    /// Releases what the context owns, not its memory.
    pub finalize: Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT)>,
    /// Cancels the command under way.
    pub cancel: Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC>,
    /// Gives what to `poll(2)` for a response: context, handles or NULL, count (in: room, out: count).
    pub getPollHandles: Option<
        unsafe extern "C" fn(
            ctx: *mut TSS2_TCTI_CONTEXT,
            handles: *mut TSS2_TCTI_POLL_HANDLE,
            num_handles: *mut usize,
        ) -> TSS2_RC,
    >,
    /// Sets the locality of the commands that follow.
    pub setLocality: Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT, locality: u8) -> TSS2_RC>,
}

/// Common head of a context, version 2: 72 bytes on 64-bit machines.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TSS2_TCTI_CONTEXT_COMMON_V2 {
    /// Version 1 of the head.
    pub v1: TSS2_TCTI_CONTEXT_COMMON_V1,
    /// Makes a handle survive in a resource manager.
    pub makeSticky: Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT, handle: *mut u32, sticky: u8) -> TSS2_RC>,
}

/// What a module says of itself through `Tss2_Tcti_Info`: 40 bytes on 64-bit machines.
#[repr(C)]
pub struct TSS2_TCTI_INFO {
    /// Version of this structure and of the contexts that `init` makes.
    pub version: u32,
    /// Name of the module.
    pub name: *const c_char,
    /// One sentence on what it reaches.
    pub description: *const c_char,
    /// Form of its configuration string.
    pub config_help: *const c_char,
    /// Makes a context: context or NULL, size in bytes, configuration string or NULL.
    pub init:
        Option<unsafe extern "C" fn(ctx: *mut TSS2_TCTI_CONTEXT, size: *mut usize, conf: *const c_char) -> TSS2_RC>,
}

/// The numbers that `c-tests/layout.c` holds C's declarations against. On 32 bits a `uint64_t` is aligned to eight bytes,
/// so that there is padding at the end of a head, and to four on i386.
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
