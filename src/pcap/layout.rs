// SPDX-License-Identifier: BSD-2-Clause
//! Where the context of the C module, as of tpm2-tss 4.2.0, has the TCTI that is recorded: [`CHILD`]. Programs that know
//! that structure, such as upstream's own tests, look there for the module to reset.
#![forbid(unsafe_code)]

use core::mem::offset_of;
use tcti_core::abi::{TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V2};

/// In bytes: 120 where a pointer has eight.
pub(crate) const CHILD: usize = offset_of!(Context, child);

/// Only for its offsets.
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
