// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of the table in a context, generic over the transport: [`head`] returns the table. Each function converts
//! pointers into safe values and calls the session, which makes all decisions.

use super::context::ContextRef;
use super::guard::{guard, guard_end};
use core::ptr::copy_nonoverlapping;
use tcti_core::abi::{
    TCTI_VERSION, TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1, TSS2_TCTI_CONTEXT_COMMON_V2,
    TSS2_TCTI_POLL_HANDLE,
};
use tcti_core::deadline::Wait;
use tcti_core::session::{Entered, MAX_COMMAND, Received};
use tcti_core::transport::Module;
use tcti_core::{Result, ReturnCode};

/// Returns the head of a context of `T`, with its functions.
pub(super) const fn head<T: Module>() -> TSS2_TCTI_CONTEXT_COMMON_V2 {
    TSS2_TCTI_CONTEXT_COMMON_V2 {
        v1: TSS2_TCTI_CONTEXT_COMMON_V1 {
            magic: T::MAGIC,
            version: TCTI_VERSION,
            transmit: Some(transmit::<T>),
            receive: Some(receive::<T>),
            finalize: Some(finalize::<T>),
            cancel: Some(cancel::<T>),
            getPollHandles: Some(get_poll_handles::<T>),
            setLocality: Some(set_locality::<T>),
        },
        makeSticky: Some(make_sticky::<T>),
    }
}

/// Enters a context from C and runs `body` on its session.
///
/// # Safety
/// `ctx` is NULL or points to a live context of any module.
pub unsafe fn call<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT, body: impl FnOnce(Entered<'_, T>) -> Result<()>) -> TSS2_RC {
    // SAFETY: the caller guarantees what `call_with` requires.
    unsafe { call_with(ctx, || Ok(()), body) }
}

/// Checks the other arguments, then enters a context like [`call`].
///
/// # Safety
/// As for [`call`].
unsafe fn call_with<T: Module>(
    ctx: *mut TSS2_TCTI_CONTEXT,
    arguments: impl FnOnce() -> Result<()>,
    body: impl FnOnce(Entered<'_, T>) -> Result<()>,
) -> TSS2_RC {
    guard(|| {
        arguments()?;
        // SAFETY: the caller passes NULL or a live context.
        let context = unsafe { ContextRef::check::<T>(ctx) }?;
        // SAFETY: `check` has established that the Init of `T` made this context.
        let mut entered = unsafe { context.enter::<T>() }?;
        let session = entered.session()?;
        let result = session.enter().and_then(body);
        session.leave();
        entered.leave();
        result
    })
}

/// Fails with `BAD_REFERENCE` if a pointer is NULL.
fn not_null<P>(pointer: *const P, what: &str) -> Result<()> {
    match pointer.is_null() {
        true => Err(tcti_core::fail!(ReturnCode::BAD_REFERENCE, "the pointer to the {what} is NULL")),
        false => Ok(()),
    }
}

unsafe extern "C" fn transmit<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT, size: usize, command: *const u8) -> TSS2_RC {
    let body = |session: Entered<'_, T>| {
        let command: &[u8] = match size <= MAX_COMMAND {
            // SAFETY: the caller passes `size` readable bytes at `command`.
            true => unsafe { core::slice::from_raw_parts(command, size) },
            false => {
                return Err(tcti_core::fail!(
                    ReturnCode::BAD_VALUE,
                    "the command has {size} bytes, more than the maximum of {MAX_COMMAND}"
                ));
            }
        };
        session.transmit(command)
    };
    // SAFETY: C passes NULL or a live context.
    unsafe { call_with::<T>(ctx, || not_null(command, "command"), body) }
}

unsafe extern "C" fn receive<T: Module>(
    ctx: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    response: *mut u8,
    timeout: i32,
) -> TSS2_RC {
    let body = |session: Entered<'_, T>| {
        let wait = Wait::from_c(timeout)?;
        let capacity = match response.is_null() {
            true => None,
            // SAFETY: the caller passes in `size` how many bytes are writable at `response`.
            false => Some(unsafe { size.read() }),
        };
        let (length, result) = match session.receive(capacity, wait)? {
            Received::Size(length) => (length, Ok(())),
            Received::TooLarge(length) => (length, Err(ReturnCode::INSUFFICIENT_BUFFER.into())),
            Received::Response(bytes) => {
                // SAFETY: the session has checked that the buffer of the caller has room; it does not overlap the session's.
                unsafe { copy_nonoverlapping(bytes.as_ptr(), response, bytes.len()) };
                (bytes.len(), Ok(()))
            }
        };
        // SAFETY: the caller passes a writable size.
        unsafe { size.write(length) };
        result
    };
    // SAFETY: C passes NULL or a live context.
    unsafe { call_with::<T>(ctx, || not_null(size, "size of the response"), body) }
}

unsafe extern "C" fn cancel<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: C passes NULL or a live context.
    unsafe { call::<T>(ctx, |session| session.cancel()) }
}

unsafe extern "C" fn get_poll_handles<T: Module>(
    ctx: *mut TSS2_TCTI_CONTEXT,
    handles: *mut TSS2_TCTI_POLL_HANDLE,
    num_handles: *mut usize,
) -> TSS2_RC {
    let body = |session: Entered<'_, T>| {
        let handle = session.poll_handle()?;
        // SAFETY: the caller passes in `num_handles` the length of its array.
        let capacity = unsafe { num_handles.read() };
        // SAFETY: the caller passes a writable count.
        unsafe { num_handles.write(1) };
        if handles.is_null() {
            return Ok(());
        }
        if capacity < 1 {
            return Err(ReturnCode::INSUFFICIENT_BUFFER.into());
        }
        // SAFETY: the caller's array has room for a handle, as checked.
        unsafe { handles.write(handle) };
        Ok(())
    };
    // SAFETY: C passes NULL or a live context.
    unsafe { call_with::<T>(ctx, || not_null(num_handles, "number of handles"), body) }
}

unsafe extern "C" fn set_locality<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT, locality: u8) -> TSS2_RC {
    // SAFETY: C passes NULL or a live context.
    unsafe { call::<T>(ctx, |session| session.set_locality(locality)) }
}

unsafe extern "C" fn make_sticky<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT, _handle: *mut u32, _sticky: u8) -> TSS2_RC {
    // No transport here is a resource manager.
    // SAFETY: C passes NULL or a live context.
    unsafe { call::<T>(ctx, |_| Err(ReturnCode::NOT_IMPLEMENTED.into())) }
}

unsafe extern "C" fn finalize<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT) {
    if ctx.is_null() {
        return;
    }
    guard_end(|| {
        // SAFETY: C passes NULL or a live context.
        let context = unsafe { ContextRef::check::<T>(ctx) }?;
        // SAFETY: `check` has established that the Init of `T` made this context.
        unsafe { context.finalize::<T>() }
    });
}
