// SPDX-License-Identifier: BSD-2-Clause
//! One C function per slot of the vtable, the same for every transport. Each turns pointers into safe values and
//! calls the session; none decides anything.

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

/// The vtable of the module of `T`.
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
/// `ctx` is NULL or points to a live context of some module.
pub unsafe fn call<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT, body: impl FnOnce(Entered<'_, T>) -> Result<()>) -> TSS2_RC {
    // SAFETY: the caller keeps the promise.
    unsafe { call_with(ctx, || Ok(()), body) }
}

/// The same, after a check of the other arguments.
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
        // SAFETY: the caller passes a context or NULL.
        let context = unsafe { ContextRef::check::<T>(ctx) }?;
        // SAFETY: its magic says that our Init made it.
        let mut entered = unsafe { context.enter::<T>() }?;
        let result = entered.session().and_then(|session| body(session.enter()?));
        entered.leave();
        result
    })
}

/// NULL where C may not pass it.
fn not_null<P>(pointer: *const P, what: &str) -> Result<()> {
    match pointer.is_null() {
        true => Err(tcti_core::fail!(ReturnCode::BAD_REFERENCE, "the pointer to the {what} is NULL")),
        false => Ok(()),
    }
}

unsafe extern "C" fn transmit<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT, size: usize, command: *const u8) -> TSS2_RC {
    let body = |session: Entered<'_, T>| {
        let command: &[u8] = match size <= MAX_COMMAND {
            // SAFETY: the caller passes `size` readable bytes.
            true => unsafe { core::slice::from_raw_parts(command, size) },
            false => {
                return Err(tcti_core::fail!(
                    ReturnCode::BAD_VALUE,
                    "a command of {size} bytes; at most {MAX_COMMAND} go"
                ));
            }
        };
        session.transmit(command)
    };
    // SAFETY: C passes the context that Init filled.
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
        let room = match response.is_null() {
            true => None,
            // SAFETY: the caller passes how many bytes are writable at `response`.
            false => Some(unsafe { size.read() }),
        };
        let (length, result) = match session.receive(room, wait)? {
            Received::Size(length) => (length, Ok(())),
            Received::TooLarge(length) => (length, Err(ReturnCode::INSUFFICIENT_BUFFER.into())),
            Received::Response(bytes) => {
                // SAFETY: the session checked that the caller's buffer holds as many bytes; it is not ours.
                unsafe { copy_nonoverlapping(bytes.as_ptr(), response, bytes.len()) };
                (bytes.len(), Ok(()))
            }
        };
        // SAFETY: the caller passes a writable size.
        unsafe { size.write(length) };
        result
    };
    // SAFETY: C passes the context that Init filled.
    unsafe { call_with::<T>(ctx, || not_null(size, "size of the response"), body) }
}

unsafe extern "C" fn cancel<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: C passes the context that Init filled.
    unsafe { call::<T>(ctx, |session| session.cancel()) }
}

unsafe extern "C" fn get_poll_handles<T: Module>(
    ctx: *mut TSS2_TCTI_CONTEXT,
    handles: *mut TSS2_TCTI_POLL_HANDLE,
    num_handles: *mut usize,
) -> TSS2_RC {
    let body = |session: Entered<'_, T>| {
        let found = session.poll_handles()?;
        // SAFETY: the caller passes how many handles there is room for.
        let room = unsafe { num_handles.read() };
        // SAFETY: the caller passes a writable count.
        unsafe { num_handles.write(found.len()) };
        if handles.is_null() {
            return Ok(());
        }
        if room < found.len() {
            return Err(ReturnCode::INSUFFICIENT_BUFFER.into());
        }
        // SAFETY: there is room for `found.len()` handles in the caller's array, which is not ours.
        unsafe { copy_nonoverlapping(found.as_ptr(), handles, found.len()) };
        Ok(())
    };
    // SAFETY: C passes the context that Init filled.
    unsafe { call_with::<T>(ctx, || not_null(num_handles, "number of handles"), body) }
}

unsafe extern "C" fn set_locality<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT, locality: u8) -> TSS2_RC {
    // SAFETY: C passes the context that Init filled.
    unsafe { call::<T>(ctx, |session| session.set_locality(locality)) }
}

unsafe extern "C" fn make_sticky<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT, _handle: *mut u32, _sticky: u8) -> TSS2_RC {
    // No transport here is a resource manager.
    // SAFETY: C passes the context that Init filled.
    unsafe { call::<T>(ctx, |_| Err(ReturnCode::NOT_IMPLEMENTED.into())) }
}

unsafe extern "C" fn finalize<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT) {
    if ctx.is_null() {
        return;
    }
    guard_end(|| {
        // SAFETY: C passes the context that Init filled.
        let context = unsafe { ContextRef::check::<T>(ctx) }?;
        // SAFETY: its magic says that our Init made it.
        drop(unsafe { context.enter::<T>() }?);
        Ok(())
    });
}
