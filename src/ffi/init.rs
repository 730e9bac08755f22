// SPDX-License-Identifier: BSD-2-Clause
//! What every `Init` does, whatever the transport.

use super::context::{self, ContextRef};
use super::guard::guard;
use super::reserve::lasting;
use super::thunks::head;
use core::ffi::{CStr, c_char};
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT};
use tcti_core::conf::Conf;
use tcti_core::session::Session;
use tcti_core::transport::{Module, Open};
use tcti_core::{Result, ReturnCode};

/// The `Init` of a module that a configuration string opens, with [`Open::open`]. With a NULL context
/// it writes the size of one, in bytes, to `size`.
///
/// # Safety
/// `ctx` is NULL or points to as many writable bytes as an earlier call asked for, initialised or not; `size` is NULL
/// or points to a writable size; `conf` is NULL or a C string.
pub unsafe fn init<T: Open>(ctx: *mut TSS2_TCTI_CONTEXT, size: *mut usize, conf: *const c_char) -> TSS2_RC {
    let open = || {
        let conf = match conf.is_null() {
            true => None,
            // SAFETY: the caller passes a C string that lives during this call.
            false => Some(unsafe { CStr::from_ptr(conf) }),
        };
        T::open(Conf::new(conf))
    };
    // SAFETY: the caller keeps the promises of `make`.
    unsafe { make(ctx, size, open) }
}

/// The `Init` of a module that a structure of the caller opens: `open` gets it, or `None` for NULL.
///
/// # Safety
/// As for [`init`]; `platform` is NULL or points to a structure that lives during the call.
pub unsafe fn init_with<T: Module, P>(
    ctx: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    platform: *const P,
    open: impl FnOnce(Option<&P>) -> Result<T>,
) -> TSS2_RC {
    // SAFETY: the caller passes NULL or a structure that lives during this call.
    let open = || open(unsafe { platform.as_ref() });
    // SAFETY: the caller keeps the promises of `make`.
    unsafe { make(ctx, size, open) }
}

/// With a NULL context it writes the size of one, in bytes, to `size`; else it opens
/// the transport and makes a context of the caller's memory. A failure leaves nothing behind and the memory zeroed.
///
/// # Safety
/// `ctx` is NULL or points to as many writable bytes as an earlier call asked for, initialised or not; `size` is NULL
/// or points to a writable size.
unsafe fn make<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT, size: *mut usize, open: impl FnOnce() -> Result<T>) -> TSS2_RC {
    let needed = const { context::size::<T>() };
    guard(|| {
        if size.is_null() && (ctx.is_null() || !T::SIZE_OPTIONAL) {
            return Err(tcti_core::fail!(ReturnCode::BAD_VALUE, "the pointer to the size of the context is NULL"));
        }
        if ctx.is_null() {
            // SAFETY: the caller passes a writable size.
            unsafe { size.write(needed) };
            return Ok(());
        }
        if !size.is_null() {
            // SAFETY: the caller passes the size of the memory.
            let size = unsafe { size.read() };
            if size < needed {
                return Err(tcti_core::fail!(T::TOO_SMALL, "a context needs {needed} bytes, the caller has {size}"));
            }
        }
        // SAFETY: the caller passes memory of the size we asked for.
        let context = unsafe { ContextRef::prepare::<T>(ctx) }?;
        let session = lasting(|| Ok(Box::new(Session::new(open()?))))?;
        // SAFETY: prepared above, and still the caller's.
        unsafe { context.install(session, head::<T>()) };
        Ok(())
    })
}
