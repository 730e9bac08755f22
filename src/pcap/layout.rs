// SPDX-License-Identifier: BSD-2-Clause
//! The offset of the child in the context of the C module of tpm2-tss 4.2.0: [`CHILD`]. Programs that know that structure,
//! such as upstream's own tests, look there for the module to reset.
#![forbid(unsafe_code)]

use core::mem::offset_of;
use tcti_core::abi::{TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V2};

/// The offset in bytes: 120 with 64-bit pointers.
pub(crate) const CHILD: usize = offset_of!(Context, child);

/// Declared only for its offsets.
#[repr(C)]
struct Context {
    common: Common,
    builder: [u32; 5],
    child: *mut TSS2_TCTI_CONTEXT,
}

#[repr(C)]
struct Common {
    head: TSS2_TCTI_CONTEXT_COMMON_V2,
    state: u32,
    header: Header,
    locality: u8,
    partial_read: [u8; 2],
}

#[repr(C)]
struct Header {
    tag: u16,
    size: u32,
    code: u32,
}
