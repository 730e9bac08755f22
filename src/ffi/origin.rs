// SPDX-License-Identifier: BSD-2-Clause
//! Tells the contexts of this copy of a module from all others: [`check`].

use tcti_core::abi::{TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1};
use tcti_core::{Result, ReturnCode};

/// Checks that C has passed a context whose Init wrote the head `ours`: it has the same magic, and at least one of its functions
/// is the same. Fails with `BAD_REFERENCE` for NULL, and with `BAD_CONTEXT` for every other context, also for one with the same
/// magic: the C modules cmd and mssim share one, and a program may load a C module, or a second copy of ours, together with
/// this one.
///
/// Only the addresses of functions belong to one copy of one module, and they lie in the 64 bytes that every context has. One
/// is enough because a program may have replaced others, such as transmit and receive, to watch or change what passes. A linker
/// that folds identical code gives two modules the same address only if everything that the functions reach is identical, this
/// comparison included; then either module can work on both contexts.
///
/// # Safety
/// `ctx` is NULL or points to a live context of any module.
pub unsafe fn check(ctx: *mut TSS2_TCTI_CONTEXT, ours: &TSS2_TCTI_CONTEXT_COMMON_V1) -> Result<()> {
    if ctx.is_null() {
        return Err(tcti_core::fail!(ReturnCode::BAD_REFERENCE, "the context is NULL"));
    }
    // SAFETY: the caller passes a context, which begins with this structure; a pointer to a function may have any value.
    let theirs = unsafe { ctx.cast::<TSS2_TCTI_CONTEXT_COMMON_V1>().read() };
    let shares_a_function = addresses(&theirs).iter().zip(addresses(ours)).any(|(theirs, ours)| *theirs == ours);
    if theirs.magic != ours.magic || !shares_a_function {
        return Err(tcti_core::fail!(
            ReturnCode::BAD_CONTEXT,
            "another module, or another copy of this one, has made the context: its magic is {:#018x}, ours is {:#018x}",
            theirs.magic,
            ours.magic
        ));
    }
    Ok(())
}

/// Returns the addresses of the functions.
fn addresses(head: &TSS2_TCTI_CONTEXT_COMMON_V1) -> [usize; 6] {
    [
        head.transmit.map_or(0, |function| function as usize),
        head.receive.map_or(0, |function| function as usize),
        head.finalize.map_or(0, |function| function as usize),
        head.cancel.map_or(0, |function| function as usize),
        head.getPollHandles.map_or(0, |function| function as usize),
        head.setLocality.map_or(0, |function| function as usize),
    ]
}
