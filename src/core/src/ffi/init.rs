// SPDX-License-Identifier: BSD-2-Clause
//! What every `Init` does, whatever the transport.

use super::context::{self, ContextRef};
use super::guard::guard;
use super::reserve::lasting;
use super::thunks::head;
use crate::abi::{TSS2_RC, TSS2_TCTI_CONTEXT};
use crate::conf::Conf;
use crate::rc::{Rc, Result};
use crate::session::Session;
use crate::transport::{Module, Open};
use core::ffi::{CStr, c_char};

/// The `Init` of a module that a configuration string opens, see [`init_with`].
///
/// # Safety
/// As for [`init_with`]; `conf` is NULL or a C string.
pub unsafe fn init<T: Open>(ctx: *mut TSS2_TCTI_CONTEXT, size: *mut usize, conf: *const c_char) -> TSS2_RC {
    let open = || {
        let conf = match conf.is_null() {
            true => None,
            // SAFETY: the caller passes a C string that lives during this call.
            false => Some(unsafe { CStr::from_ptr(conf) }),
        };
        T::open(Conf::new(conf))
    };
    // SAFETY: the caller keeps the promises of `init_with`.
    unsafe { init_with(ctx, size, open) }
}

/// The `Init` of the module of `T`. With a NULL context it writes the size of one, in bytes, to `size`; else it opens
/// the transport and makes a context of the caller's memory. A failure leaves nothing behind and the memory zeroed.
///
/// # Safety
/// `ctx` is NULL or points to as many writable bytes as an earlier call asked for, initialised or not; `size` is NULL
/// or points to a writable size.
pub unsafe fn init_with<T: Module>(
    ctx: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    open: impl FnOnce() -> Result<T>,
) -> TSS2_RC {
    let needed = const { context::size::<T>() };
    guard(|| {
        if size.is_null() && (ctx.is_null() || !T::SIZE_OPTIONAL) {
            return Err(crate::fail!(Rc::BAD_VALUE, "the pointer to the size of the context is NULL"));
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
                return Err(crate::fail!(T::TOO_SMALL, "a context needs {needed} bytes, the caller has {size}"));
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
