// SPDX-License-Identifier: BSD-2-Clause
//! The `Init` function of every module: [`init`], or [`init_with`] without a configuration string.

use super::context::{self, ContextRef};
use super::guard::guard;
use super::reserve::{boxed, without_reserve};
use core::ffi::{CStr, c_char};
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT};
use tcti_core::conf::Conf;
use tcti_core::session::Session;
use tcti_core::transport::{Module, Open};
use tcti_core::{Result, ReturnCode};

/// Implements `Init` for a module that is opened with a configuration string, see [`Open::open`]. With a NULL context it writes
/// the size of a context in bytes to `size`.
///
/// # Safety
/// `ctx` is NULL or points to as many writable bytes as this function has written to `size`, initialised or not; `size` is NULL
/// or points to a writable size; `conf` is NULL or a C string.
pub unsafe fn init<T: Open>(ctx: *mut TSS2_TCTI_CONTEXT, size: *mut usize, conf: *const c_char) -> TSS2_RC {
    let open = || {
        let conf = match conf.is_null() {
            true => None,
            // SAFETY: the caller passes a C string that outlives this call.
            false => Some(unsafe { CStr::from_ptr(conf) }),
        };
        T::open(Conf::from_caller(conf)?)
    };
    // SAFETY: the caller guarantees what `create` requires.
    unsafe { create(ctx, size, open) }
}

/// Implements `Init` for a module that is opened with a structure of the caller. `open` receives it, or `None` for NULL.
///
/// # Safety
/// As for [`init`]; `platform` is NULL or points to a structure that outlives the call.
pub unsafe fn init_with<T: Module, P>(
    ctx: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    platform: *const P,
    open: impl FnOnce(Option<&P>) -> Result<T>,
) -> TSS2_RC {
    // SAFETY: the caller passes NULL or a structure that outlives this call.
    let open = || open(unsafe { platform.as_ref() });
    // SAFETY: the caller guarantees what `create` requires.
    unsafe { create(ctx, size, open) }
}

/// Writes the size of a context in bytes to `size` if `ctx` is NULL; otherwise opens the transport and turns the memory of the
/// caller into a context. After a failure the memory is zeroed or unchanged.
///
/// # Safety
/// `ctx` is NULL or points to as many writable bytes as this function has written to `size`, initialised or not; `size` is NULL
/// or points to a writable size.
unsafe fn create<T: Module>(
    ctx: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    open: impl FnOnce() -> Result<T>,
) -> TSS2_RC {
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
            // SAFETY: the caller passes a pointer to the size of the memory.
            let size = unsafe { size.read() };
            if size < needed {
                return Err(tcti_core::fail!(
                    T::TOO_SMALL,
                    "a context needs {needed} bytes, but the caller passes {size}"
                ));
            }
        }
        // SAFETY: the caller passes memory of the size that a call with a NULL context returns.
        let context = unsafe { ContextRef::prepare::<T>(ctx) }?;
        let session = boxed(without_reserve(|| Ok(Session::new(open()?)))?)?;
        // SAFETY: `prepare` has accepted the memory, which the caller keeps valid during the call.
        unsafe { context.install(session) };
        Ok(())
    })
}
