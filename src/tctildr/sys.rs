// SPDX-License-Identifier: BSD-2-Clause
//! Contexts that forward every call unchanged to the context of a module: [`initialize`] and [`init`] create them. They have no
//! states and no buffer. C code may free contexts and infos itself, so they are allocated with calloc.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use core::ffi::{CStr, c_char, c_void};
use core::ptr::null_mut;
use tcti_core::abi::{
    TCTI_VERSION, TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1, TSS2_TCTI_CONTEXT_COMMON_V2, TSS2_TCTI_INFO,
    TSS2_TCTI_POLL_HANDLE,
};
use tcti_core::{Result, ReturnCode, fail, log};
use tcti_ffi::calls::Calls;
use tcti_ffi::{guard, guard_end, origin, without_reserve};
use tcti_loader::{Child, NameConf};

/// Identifies the contexts of the loader.
const MAGIC: u64 = 0xbc44_a31c_a74b_4aaf;

/// The memory of a context. The pointer to the module's context is at the same offset as in tpm2-tss 4.2.0 (tctildr.h), where
/// programs that know that structure, such as upstream's own tests, look for the module to reset.
#[repr(C)]
struct Context {
    head: TSS2_TCTI_CONTEXT_COMMON_V2,
    /// As large as two pointers, which tpm2-tss has here.
    calls: Calls,
    /// The context of the child, for such programs; null after Finalize.
    tcti: *mut TSS2_TCTI_CONTEXT,
    /// A boxed `Child`; null after Finalize. Accessed only inside a call.
    child: *mut Child,
}

/// The largest number of calls at the same time. The loader does not exclude one by another, as a module in C may allow, for
/// example, to cancel in one thread what another one receives.
const MOST_CALLS: u32 = 255;

const HEAD: TSS2_TCTI_CONTEXT_COMMON_V2 = TSS2_TCTI_CONTEXT_COMMON_V2 {
    v1: TSS2_TCTI_CONTEXT_COMMON_V1 {
        magic: MAGIC,
        version: TCTI_VERSION,
        transmit: Some(forward_transmit),
        receive: Some(forward_receive),
        finalize: Some(forward_finalize),
        cancel: Some(forward_cancel),
        getPollHandles: Some(forward_get_poll_handles),
        setLocality: Some(forward_set_locality),
    },
    makeSticky: Some(forward_make_sticky),
};

/// Memory from calloc that C will free; freed on drop until it is released to C.
struct Allocation(*mut c_void);

impl Allocation {
    fn zeroed(size: usize) -> Result<Allocation> {
        // SAFETY: calloc has no preconditions.
        let memory = unsafe { libc::calloc(1, size) };
        match memory.is_null() {
            true => Err(fail!(ReturnCode::MEMORY, "no memory for {size} bytes")),
            false => Ok(Allocation(memory)),
        }
    }

    /// Copies a string.
    fn text(text: &CStr) -> Result<Allocation> {
        let bytes = text.to_bytes_with_nul();
        let copy = Allocation::zeroed(bytes.len())?;
        // SAFETY: `zeroed` has allocated `bytes.len()` bytes, which do not overlap `bytes`.
        unsafe { copy.0.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(copy)
    }

    /// Hands the memory over to C.
    fn release<T>(self) -> *mut T {
        let memory = self.0.cast();
        core::mem::forget(self);
        memory
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: calloc has returned the memory, and `self` owns it.
        unsafe { libc::free(self.0) };
    }
}

/// Converts a string from C; `None` for NULL.
///
/// # Safety
/// `text` is NULL or a C string that outlives the result.
unsafe fn text<'a>(text: *const c_char) -> Option<&'a CStr> {
    match text.is_null() {
        true => None,
        // SAFETY: the caller passes a C string that outlives the result.
        false => Some(unsafe { CStr::from_ptr(text) }),
    }
}

/// Writes a context.
///
/// # Safety
/// `ctx` points to memory for a context, writable and aligned.
unsafe fn install(ctx: *mut Context, child: Box<Child>) {
    let tcti = child.as_ptr();
    // SAFETY: the caller guarantees that the memory is writable and aligned.
    unsafe { ctx.write(Context { head: HEAD, calls: Calls::default(), tcti, child: Box::into_raw(child) }) };
}

/// Implements `Tss2_TctiLdr_Initialize`.
///
/// # Safety
/// `name_conf` is NULL or a C string; `context` is NULL or writable.
pub unsafe fn initialize(name_conf: *const c_char, context: *mut *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: the caller passes NULL or a C string.
    let name_conf = unsafe { text(name_conf) };
    // SAFETY: the caller passes NULL or a writable pointer.
    unsafe { open_into(context, || NameConf::parse(name_conf)) }
}

/// Implements `Tss2_TctiLdr_Initialize_Ex`.
///
/// # Safety
/// `name` and `conf` are NULL or C strings; `context` is NULL or writable.
pub unsafe fn initialize_ex(name: *const c_char, conf: *const c_char, context: *mut *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: the caller passes NULL or a C string.
    let name = unsafe { text(name) };
    // SAFETY: the caller passes NULL or a C string.
    let conf = unsafe { text(conf) };
    // SAFETY: the caller passes NULL or a writable pointer.
    unsafe { open_into(context, || NameConf::new(name, conf)) }
}

/// Opens a module, and stores a new context in `*context`, or NULL after a failure.
///
/// # Safety
/// `context` is NULL or writable.
unsafe fn open_into<'a>(
    context: *mut *mut TSS2_TCTI_CONTEXT,
    name_conf: impl FnOnce() -> Result<NameConf<'a>>,
) -> TSS2_RC {
    guard(|| {
        if context.is_null() {
            return Err(fail!(ReturnCode::BAD_VALUE, "the pointer to the context is NULL"));
        }
        log::warn_of_invalid_level();
        // SAFETY: the caller passes a writable pointer.
        unsafe { context.write(null_mut()) };
        let memory = Allocation::zeroed(size_of::<Context>())?;
        let child = without_reserve(|| Ok(Box::new(tcti_loader::open(&name_conf()?)?)))?;
        let ctx: *mut Context = memory.release();
        // SAFETY: calloc has returned writable memory of this size, aligned for any type.
        unsafe { install(ctx, child) };
        // SAFETY: the caller passes a writable pointer.
        unsafe { context.write(ctx.cast()) };
        Ok(())
    })
}

/// Implements `Tss2_Tcti_TctiLdr_Init`.
///
/// # Safety
/// `ctx` is NULL or points to memory of the size that a call with NULL returns; `size` is NULL or writable; `conf` is NULL or a C string.
pub unsafe fn init(ctx: *mut TSS2_TCTI_CONTEXT, size: *mut usize, conf: *const c_char) -> TSS2_RC {
    guard(|| {
        if ctx.is_null() {
            if size.is_null() {
                return Err(fail!(ReturnCode::BAD_VALUE, "the pointer to the size of the context is NULL"));
            }
            // SAFETY: the caller passes a writable size.
            unsafe { size.write(size_of::<Context>()) };
            return Ok(());
        }
        let ctx: *mut Context = ctx.cast();
        // SAFETY: the caller passes the size of the memory, or NULL if the memory has the size that this function returns.
        let size = unsafe { size.as_ref() }.map_or(size_of::<Context>(), |size| *size);
        if !ctx.is_aligned() || size < size_of::<Context>() {
            return Err(fail!(
                ReturnCode::BAD_VALUE,
                "a context needs {} bytes, aligned as by malloc",
                size_of::<Context>()
            ));
        }
        log::warn_of_invalid_level();
        // SAFETY: the caller passes writable memory of at least this size.
        unsafe { ctx.write_bytes(0, 1) };
        // SAFETY: the caller passes NULL or a C string.
        let conf = unsafe { text(conf) };
        let child = without_reserve(|| Ok(Box::new(tcti_loader::open(&NameConf::parse(conf)?)?)))?;
        // SAFETY: the caller passes writable memory, whose size and alignment were checked.
        unsafe { install(ctx, child) };
        Ok(())
    })
}

/// Implements `Tss2_TctiLdr_Finalize`.
///
/// # Safety
/// `context` is NULL or points to NULL or to a context of [`initialize`] or [`initialize_ex`].
pub unsafe fn finalize(context: *mut *mut TSS2_TCTI_CONTEXT) {
    guard_end(|| {
        if context.is_null() {
            return Ok(());
        }
        // SAFETY: the caller passes a writable pointer.
        let ctx = unsafe { context.read() };
        if ctx.is_null() {
            return Ok(());
        }
        // SAFETY: the caller passes a context.
        unsafe { close(ctx) }?; // inside a call of the same thread the memory is still in use
        // SAFETY: `open_into` has allocated it with calloc.
        unsafe { libc::free(ctx.cast()) };
        // SAFETY: the caller passes a writable pointer.
        unsafe { context.write(null_mut()) };
        Ok(())
    });
}

/// Implements `Tss2_TctiLdr_GetInfo`.
///
/// # Safety
/// `name` is NULL or a C string; `info` is NULL or writable.
pub unsafe fn get_info(name: *const c_char, info: *mut *mut TSS2_TCTI_INFO) -> TSS2_RC {
    guard(|| {
        if info.is_null() {
            return Err(fail!(ReturnCode::BAD_REFERENCE, "the pointer to the info is NULL"));
        }
        // SAFETY: the caller passes a writable pointer.
        unsafe { info.write(null_mut()) };
        // SAFETY: the caller passes NULL or a C string.
        let name_conf = NameConf::parse(unsafe { text(name) })?;
        let module = tcti_loader::load(name_conf.name())?;
        let [name, description, config_help] = module.texts();
        let copy = Allocation::zeroed(size_of::<TSS2_TCTI_INFO>())?;
        let (name, description) = (Allocation::text(name)?, Allocation::text(description)?);
        let config_help = Allocation::text(config_help)?;
        let copy: *mut TSS2_TCTI_INFO = copy.release();
        // SAFETY: calloc has returned writable memory of this size, aligned for any type.
        unsafe {
            copy.write(TSS2_TCTI_INFO {
                version: module.version(),
                name: name.release(),
                description: description.release(),
                config_help: config_help.release(),
                init: None,
            });
        }
        // SAFETY: the caller passes a writable pointer.
        unsafe { info.write(copy) };
        Ok(())
    })
}

/// Implements `Tss2_TctiLdr_FreeInfo`.
///
/// # Safety
/// `info` is NULL or points to NULL or to an info of [`get_info`].
pub unsafe fn free_info(info: *mut *mut TSS2_TCTI_INFO) {
    if info.is_null() {
        return;
    }
    // SAFETY: the caller passes a writable pointer.
    let freed = unsafe { info.read() };
    if freed.is_null() {
        return;
    }
    // SAFETY: `get_info` has written the structure.
    let TSS2_TCTI_INFO { name, description, config_help, .. } = unsafe { freed.read() };
    for text in [name, description, config_help] {
        // SAFETY: `get_info` has allocated each string with calloc.
        unsafe { libc::free(text.cast_mut().cast()) };
    }
    // SAFETY: `get_info` has allocated it with calloc.
    unsafe { libc::free(freed.cast()) };
    // SAFETY: the caller passes a writable pointer.
    unsafe { info.write(null_mut()) };
}

/// Checks that C has passed a context of this copy of the loader, see [`origin::check`].
///
/// # Safety
/// `ctx` is NULL or points to a live context of any module.
unsafe fn check(ctx: *mut TSS2_TCTI_CONTEXT) -> Result<*mut Context> {
    // SAFETY: the caller passes NULL or a live context.
    unsafe { origin::check(ctx, &HEAD.v1) }?;
    Ok(ctx.cast())
}

/// Returns the calls in progress.
///
/// # Safety
/// `ctx` comes from `check` and lives as long as the result.
unsafe fn calls<'a>(ctx: *mut Context) -> &'a Calls {
    // SAFETY: the caller guarantees that the context lives; its field is aligned, and no `&mut` to it is ever made.
    unsafe { &(*ctx).calls }
}

/// Calls the function of the child that `slot` selects, which contexts have since version `since`; see [`Child::function`].
/// Returns `BAD_SEQUENCE` during and after Finalize.
///
/// # Safety
/// `ctx` is NULL or points to a live context of any module.
unsafe fn forward<F>(
    ctx: *mut TSS2_TCTI_CONTEXT,
    since: u32,
    slot: impl FnOnce(&TSS2_TCTI_CONTEXT_COMMON_V2) -> Option<F>,
    call: impl FnOnce(F, *mut TSS2_TCTI_CONTEXT) -> TSS2_RC,
) -> TSS2_RC {
    guard(|| {
        // SAFETY: the caller passes NULL or a live context.
        let ctx = unsafe { check(ctx) }?;
        // SAFETY: `check` has accepted the context, and Finalize waits for the call.
        let _inside = unsafe { calls(ctx) }.enter(MOST_CALLS)?;
        // SAFETY: `check` has accepted the context, and `_inside` excludes Finalize, which alone writes the field.
        let child = unsafe { (*ctx).child };
        // SAFETY: `install` made the pointer from a box, which only Finalize frees, and `_inside` excludes that.
        let child =
            unsafe { child.as_ref() }.ok_or_else(|| fail!(ReturnCode::BAD_SEQUENCE, "the context was finalized"))?;
        ReturnCode::from_c(call(child.function(since, slot)?, child.as_ptr()))
    })
}

unsafe extern "C" fn forward_transmit(ctx: *mut TSS2_TCTI_CONTEXT, size: usize, command: *const u8) -> TSS2_RC {
    // SAFETY: C guarantees the arguments, which are passed on unchanged.
    let call = |function: unsafe extern "C" fn(_, _, _) -> _, child| unsafe { function(child, size, command) };
    // SAFETY: C passes NULL or a live context.
    unsafe { forward(ctx, 1, |head| head.v1.transmit, call) }
}

unsafe extern "C" fn forward_receive(
    ctx: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    response: *mut u8,
    timeout: i32,
) -> TSS2_RC {
    let call = |function: unsafe extern "C" fn(_, _, _, _) -> _, child| {
        // SAFETY: C guarantees the arguments, which are passed on unchanged.
        unsafe { function(child, size, response, timeout) }
    };
    // SAFETY: C passes NULL or a live context.
    unsafe { forward(ctx, 1, |head| head.v1.receive, call) }
}

unsafe extern "C" fn forward_cancel(ctx: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: C guarantees the arguments, which are passed on unchanged.
    let call = |function: unsafe extern "C" fn(_) -> _, child| unsafe { function(child) };
    // SAFETY: C passes NULL or a live context.
    unsafe { forward(ctx, 1, |head| head.v1.cancel, call) }
}

unsafe extern "C" fn forward_get_poll_handles(
    ctx: *mut TSS2_TCTI_CONTEXT,
    handles: *mut TSS2_TCTI_POLL_HANDLE,
    num_handles: *mut usize,
) -> TSS2_RC {
    let call = |function: unsafe extern "C" fn(_, _, _) -> _, child| {
        // SAFETY: C guarantees the arguments, which are passed on unchanged.
        unsafe { function(child, handles, num_handles) }
    };
    // SAFETY: C passes NULL or a live context.
    unsafe { forward(ctx, 1, |head| head.v1.getPollHandles, call) }
}

unsafe extern "C" fn forward_set_locality(ctx: *mut TSS2_TCTI_CONTEXT, locality: u8) -> TSS2_RC {
    // SAFETY: C guarantees the arguments, which are passed on unchanged.
    let call = |function: unsafe extern "C" fn(_, _) -> _, child| unsafe { function(child, locality) };
    // SAFETY: C passes NULL or a live context.
    unsafe { forward(ctx, 1, |head| head.v1.setLocality, call) }
}

unsafe extern "C" fn forward_make_sticky(ctx: *mut TSS2_TCTI_CONTEXT, handle: *mut u32, sticky: u8) -> TSS2_RC {
    // SAFETY: C guarantees the arguments, which are passed on unchanged.
    let call = |function: unsafe extern "C" fn(_, _, _) -> _, child| unsafe { function(child, handle, sticky) };
    // SAFETY: C passes NULL or a live context.
    unsafe { forward(ctx, 2, |head| head.makeSticky, call) }
}

/// Finalizes the child and unloads its library. The memory of the context still belongs to the caller.
unsafe extern "C" fn forward_finalize(ctx: *mut TSS2_TCTI_CONTEXT) {
    if ctx.is_null() {
        return;
    }
    // SAFETY: C passes NULL or a live context.
    guard_end(|| unsafe { close(ctx) });
}

/// Finalizes the child, after the calls of other threads have ended. Fails with `BAD_SEQUENCE` inside a call of the same thread,
/// and with `BAD_CONTEXT` for a context of another module, without finalizing the child.
///
/// # Safety
/// `ctx` is NULL or points to a live context of any module.
unsafe fn close(ctx: *mut TSS2_TCTI_CONTEXT) -> Result<()> {
    // SAFETY: the caller passes NULL or a live context.
    let ctx = unsafe { check(ctx) }.map_err(|error| error.code())?; // not logged: tpm2-tools pass contexts of all modules
    // SAFETY: `check` has accepted the context, and the caller keeps it alive during the call.
    let _inside = unsafe { calls(ctx) }.enter_last()?;
    // SAFETY: `check` has accepted the context, and `_inside` excludes every other call.
    let child = unsafe { (*ctx).child };
    // SAFETY: `_inside` excludes every other call, as above.
    unsafe { (*ctx).child = null_mut() };
    // SAFETY: `_inside` excludes every other call, as above.
    unsafe { (*ctx).tcti = null_mut() };
    if !child.is_null() {
        // SAFETY: `install` made the pointer from a box, and no other copy of it is left.
        drop(unsafe { Box::from_raw(child) });
    }
    Ok(())
}
