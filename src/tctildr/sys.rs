// SPDX-License-Identifier: BSD-2-Clause
//! Contexts that forward to a module's context. No states and no buffer: each call goes on as it came. C may free
//! what it gets from here, so contexts and infos are from calloc.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use crate::inside::Inside;
use core::ffi::{CStr, c_char, c_void};
use core::ptr::null_mut;
use core::sync::atomic::AtomicUsize;
use tcti_core::abi::{
    TCTI_VERSION, TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1, TSS2_TCTI_CONTEXT_COMMON_V2, TSS2_TCTI_INFO,
    TSS2_TCTI_POLL_HANDLE,
};
use tcti_core::{Result, ReturnCode, fail, log};
use tcti_ffi::{guard, guard_end, lasting};
use tcti_loader::{Child, NameConf};

/// Names our contexts.
const MAGIC: u64 = 0xbc44_a31c_a74b_4aaf;

/// The memory of a context. The module's context is where tpm2-tss 4.2.0 has it (tctildr.h): programs that know that
/// structure, such as upstream's own tests, look there for the module to reset.
#[repr(C)]
struct Context {
    head: TSS2_TCTI_CONTEXT_COMMON_V2,
    /// A boxed `Child`; null after Finalize. For who is inside.
    child: *mut Child,
    inside: AtomicUsize,
    /// The child's, for those who look; null after Finalize.
    tcti: *mut TSS2_TCTI_CONTEXT,
}

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

/// Memory from calloc that C frees; freed here while C does not know it yet.
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

    /// A copy of a text.
    fn text(text: &CStr) -> Result<Allocation> {
        let bytes = text.to_bytes_with_nul();
        let copy = Allocation::zeroed(bytes.len())?;
        // SAFETY: the new memory holds as many bytes.
        unsafe { copy.0.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(copy)
    }

    /// Leaves it to C.
    fn release<T>(self) -> *mut T {
        let memory = self.0.cast();
        core::mem::forget(self);
        memory
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: the memory is from calloc and nobody else's.
        unsafe { libc::free(self.0) };
    }
}

/// A text from C.
///
/// # Safety
/// `text` is NULL or a C string that outlives the result.
unsafe fn text<'a>(text: *const c_char) -> Option<&'a CStr> {
    match text.is_null() {
        true => None,
        // SAFETY: the caller passes a C string.
        false => Some(unsafe { CStr::from_ptr(text) }),
    }
}

/// # Safety
/// `ctx` points to memory for a context, writable and aligned.
unsafe fn install(ctx: *mut Context, child: Box<Child>) {
    let tcti = child.as_ptr();
    // SAFETY: the caller owns the memory.
    unsafe { ctx.write(Context { head: HEAD, child: Box::into_raw(child), inside: AtomicUsize::new(0), tcti }) };
}

/// `Tss2_TctiLdr_Initialize`.
///
/// # Safety
/// `name_conf` is NULL or a C string; `context` is NULL or writable.
pub unsafe fn initialize(name_conf: *const c_char, context: *mut *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: the caller passes NULL or a C string.
    let name_conf = unsafe { text(name_conf) };
    // SAFETY: the caller passes NULL or a writable place.
    unsafe { open_into(context, || NameConf::parse(name_conf)) }
}

/// `Tss2_TctiLdr_Initialize_Ex`.
///
/// # Safety
/// `name` and `conf` are NULL or C strings; `context` is NULL or writable.
pub unsafe fn initialize_ex(name: *const c_char, conf: *const c_char, context: *mut *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: the caller passes NULL or a C string.
    let name = unsafe { text(name) };
    // SAFETY: the caller passes NULL or a C string.
    let conf = unsafe { text(conf) };
    // SAFETY: the caller passes NULL or a writable place.
    unsafe { open_into(context, || NameConf::new(name.map(CStr::to_owned), conf)) }
}

/// # Safety
/// `context` is NULL or writable.
unsafe fn open_into<'a>(context: *mut *mut TSS2_TCTI_CONTEXT, what: impl FnOnce() -> Result<NameConf<'a>>) -> TSS2_RC {
    guard(|| {
        if context.is_null() {
            return Err(fail!(ReturnCode::BAD_VALUE, "the place for the context is NULL"));
        }
        log::warn_of_invalid_level();
        // SAFETY: the caller passes a writable place.
        unsafe { context.write(null_mut()) };
        let memory = Allocation::zeroed(size_of::<Context>())?;
        let child = lasting(|| Ok(Box::new(tcti_loader::open(&what()?)?)))?;
        let ctx: *mut Context = memory.release();
        // SAFETY: the memory is new.
        unsafe { install(ctx, child) };
        // SAFETY: the caller passes a writable place.
        unsafe { context.write(ctx.cast()) };
        Ok(())
    })
}

/// `Tss2_Tcti_TctiLdr_Init`.
///
/// # Safety
/// `ctx` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C string.
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
        // SAFETY: the caller passes the size of the memory, or NULL: then it is of the size asked for.
        let size = unsafe { size.as_ref() }.map_or(size_of::<Context>(), |size| *size);
        if !ctx.is_aligned() || size < size_of::<Context>() {
            return Err(fail!(
                ReturnCode::BAD_VALUE,
                "a context needs {} bytes, aligned as malloc does",
                size_of::<Context>()
            ));
        }
        log::warn_of_invalid_level();
        // SAFETY: the caller passes memory of the size asked for.
        unsafe { ctx.write_bytes(0, 1) };
        // SAFETY: the caller passes NULL or a C string.
        let conf = unsafe { text(conf) };
        let child = lasting(|| Ok(Box::new(tcti_loader::open(&NameConf::parse(conf)?)?)))?;
        // SAFETY: the memory is the caller's.
        unsafe { install(ctx, child) };
        Ok(())
    })
}

/// `Tss2_TctiLdr_Finalize`.
///
/// # Safety
/// `context` is NULL or points to NULL or to a context of [`initialize`] or [`initialize_ex`].
pub unsafe fn finalize(context: *mut *mut TSS2_TCTI_CONTEXT) {
    guard_end(|| {
        if context.is_null() {
            return Ok(());
        }
        // SAFETY: the caller passes a writable place.
        let ctx = unsafe { context.read() };
        if ctx.is_null() {
            return Ok(());
        }
        // SAFETY: the caller passes a context.
        unsafe { close(ctx) }?; // else somebody is inside, and still needs the memory
        // SAFETY: Initialize allocated it with calloc.
        unsafe { libc::free(ctx.cast()) };
        // SAFETY: the caller passes a writable place.
        unsafe { context.write(null_mut()) };
        Ok(())
    });
}

/// `Tss2_TctiLdr_GetInfo`.
///
/// # Safety
/// `name` is NULL or a C string; `info` is NULL or writable.
pub unsafe fn get_info(name: *const c_char, info: *mut *mut TSS2_TCTI_INFO) -> TSS2_RC {
    guard(|| {
        if info.is_null() {
            return Err(fail!(ReturnCode::BAD_REFERENCE, "the place for the info is NULL"));
        }
        // SAFETY: the caller passes a writable place.
        unsafe { info.write(null_mut()) };
        // SAFETY: the caller passes NULL or a C string.
        let what = NameConf::parse(unsafe { text(name) })?;
        let module = tcti_loader::load(what.name())?;
        let [name, description, config_help] = module.texts();
        let copy = Allocation::zeroed(size_of::<TSS2_TCTI_INFO>())?;
        let (name, description) = (Allocation::text(name)?, Allocation::text(description)?);
        let config_help = Allocation::text(config_help)?;
        let copy: *mut TSS2_TCTI_INFO = copy.release();
        // SAFETY: the memory is new and of this size.
        unsafe {
            copy.write(TSS2_TCTI_INFO {
                version: module.version(),
                name: name.release(),
                description: description.release(),
                config_help: config_help.release(),
                init: None,
            });
        }
        // SAFETY: the caller passes a writable place.
        unsafe { info.write(copy) };
        Ok(())
    })
}

/// `Tss2_TctiLdr_FreeInfo`.
///
/// # Safety
/// `info` is NULL or points to NULL or to an info of [`get_info`].
pub unsafe fn free_info(info: *mut *mut TSS2_TCTI_INFO) {
    if info.is_null() {
        return;
    }
    // SAFETY: the caller passes a writable place.
    let held = unsafe { info.read() };
    if held.is_null() {
        return;
    }
    // SAFETY: GetInfo filled it.
    let TSS2_TCTI_INFO { name, description, config_help, .. } = unsafe { held.read() };
    for text in [name, description, config_help] {
        // SAFETY: GetInfo allocated each text with calloc.
        unsafe { libc::free(text.cast_mut().cast()) };
    }
    // SAFETY: GetInfo allocated it with calloc.
    unsafe { libc::free(held.cast()) };
    // SAFETY: the caller passes a writable place.
    unsafe { info.write(null_mut()) };
}

/// The magic of a context; `None` for NULL.
///
/// # Safety
/// `ctx` is NULL or points to a live context of some module.
unsafe fn magic(ctx: *mut TSS2_TCTI_CONTEXT) -> Option<u64> {
    // SAFETY: every context of every module opens with its magic.
    unsafe { ctx.cast::<u64>().as_ref() }.copied()
}

/// A context of ours: NULL is `BAD_REFERENCE`, another magic `BAD_CONTEXT`.
///
/// # Safety
/// `ctx` is NULL or points to a live context of some module.
unsafe fn check(ctx: *mut TSS2_TCTI_CONTEXT) -> Result<*mut Context> {
    // SAFETY: the caller keeps the promise.
    match unsafe { magic(ctx) } {
        Some(MAGIC) => Ok(ctx.cast()),
        Some(magic) => Err(fail!(ReturnCode::BAD_CONTEXT, "a context with magic {magic:#018x} is none of the loader")),
        None => Err(fail!(ReturnCode::BAD_REFERENCE, "the context is NULL")),
    }
}

/// Who is inside a context.
///
/// # Safety
/// `ctx` comes from `check` and lives as long as the result.
unsafe fn inside<'a>(ctx: *mut Context) -> &'a AtomicUsize {
    // SAFETY: the field is aligned, lives as long as the context, and nobody takes it by `&mut`.
    unsafe { &(*ctx).inside }
}

/// Calls one function of the child, `slot` picking it. `BAD_SEQUENCE` after Finalize, `ABI_MISMATCH` for a child of
/// version 0, `NOT_IMPLEMENTED` for a function that it lacks: what the macros of tss2_tcti.h answer.
///
/// # Safety
/// `ctx` is NULL or points to a live context of some module.
unsafe fn forward<F>(
    ctx: *mut TSS2_TCTI_CONTEXT,
    slot: impl FnOnce(&TSS2_TCTI_CONTEXT_COMMON_V2) -> Option<F>,
    call: impl FnOnce(F, *mut TSS2_TCTI_CONTEXT) -> TSS2_RC,
) -> TSS2_RC {
    guard(|| {
        // SAFETY: the caller passes a context or NULL.
        let ctx = unsafe { check(ctx) }?;
        // SAFETY: it passed the check.
        let inside = Inside::enter(unsafe { inside(ctx) });
        let _inside = inside.ok_or_else(|| fail!(ReturnCode::BAD_SEQUENCE, "the context is being finalized"))?;
        // SAFETY: it passed the check, and nobody writes the field while we are inside.
        let child = unsafe { (*ctx).child };
        // SAFETY: a child that is there is a box of ours, which only Finalize takes, alone.
        let child =
            unsafe { child.as_ref() }.ok_or_else(|| fail!(ReturnCode::BAD_SEQUENCE, "the context was finalized"))?;
        let head = child.head();
        if head.v1.version < 1 {
            return Err(ReturnCode::ABI_MISMATCH.into());
        }
        let function = slot(&head).ok_or(ReturnCode::NOT_IMPLEMENTED)?;
        ReturnCode::from_c(call(function, child.as_ptr()))
    })
}

unsafe extern "C" fn forward_transmit(ctx: *mut TSS2_TCTI_CONTEXT, size: usize, command: *const u8) -> TSS2_RC {
    // SAFETY: the arguments go on as C passed them.
    let call = |function: unsafe extern "C" fn(_, _, _) -> _, child| unsafe { function(child, size, command) };
    // SAFETY: C passes the context that we made.
    unsafe { forward(ctx, |head| head.v1.transmit, call) }
}

unsafe extern "C" fn forward_receive(
    ctx: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    response: *mut u8,
    timeout: i32,
) -> TSS2_RC {
    let call = |function: unsafe extern "C" fn(_, _, _, _) -> _, child| {
        // SAFETY: the arguments go on as C passed them.
        unsafe { function(child, size, response, timeout) }
    };
    // SAFETY: C passes the context that we made.
    unsafe { forward(ctx, |head| head.v1.receive, call) }
}

unsafe extern "C" fn forward_cancel(ctx: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: the arguments go on as C passed them.
    let call = |function: unsafe extern "C" fn(_) -> _, child| unsafe { function(child) };
    // SAFETY: C passes the context that we made.
    unsafe { forward(ctx, |head| head.v1.cancel, call) }
}

unsafe extern "C" fn forward_get_poll_handles(
    ctx: *mut TSS2_TCTI_CONTEXT,
    handles: *mut TSS2_TCTI_POLL_HANDLE,
    num_handles: *mut usize,
) -> TSS2_RC {
    let call = |function: unsafe extern "C" fn(_, _, _) -> _, child| {
        // SAFETY: the arguments go on as C passed them.
        unsafe { function(child, handles, num_handles) }
    };
    // SAFETY: C passes the context that we made.
    unsafe { forward(ctx, |head| head.v1.getPollHandles, call) }
}

unsafe extern "C" fn forward_set_locality(ctx: *mut TSS2_TCTI_CONTEXT, locality: u8) -> TSS2_RC {
    // SAFETY: the arguments go on as C passed them.
    let call = |function: unsafe extern "C" fn(_, _) -> _, child| unsafe { function(child, locality) };
    // SAFETY: C passes the context that we made.
    unsafe { forward(ctx, |head| head.v1.setLocality, call) }
}

unsafe extern "C" fn forward_make_sticky(ctx: *mut TSS2_TCTI_CONTEXT, handle: *mut u32, sticky: u8) -> TSS2_RC {
    // SAFETY: the arguments go on as C passed them.
    let call = |function: unsafe extern "C" fn(_, _, _) -> _, child| unsafe { function(child, handle, sticky) };
    // SAFETY: C passes the context that we made.
    unsafe { forward(ctx, |head| head.makeSticky, call) }
}

/// Closes the child and lets its library go; the memory stays the caller's.
unsafe extern "C" fn forward_finalize(ctx: *mut TSS2_TCTI_CONTEXT) {
    if ctx.is_null() {
        return;
    }
    // SAFETY: C passes the context that we made.
    guard_end(|| unsafe { close(ctx) });
}

/// `BAD_SEQUENCE` while somebody is inside, `BAD_CONTEXT` for another module's; the context is then as it was.
///
/// # Safety
/// `ctx` is NULL or points to a live context of some module.
unsafe fn close(ctx: *mut TSS2_TCTI_CONTEXT) -> Result<()> {
    // SAFETY: the caller passes a context or NULL.
    if unsafe { magic(ctx) } != Some(MAGIC) {
        return Err(ReturnCode::BAD_CONTEXT.into()); // without a word, as in C: tpm2-tools end any context that they have in this way
    }
    let ctx: *mut Context = ctx.cast();
    // SAFETY: it passed the check.
    let alone = Inside::alone(unsafe { inside(ctx) });
    let _alone = alone
        .ok_or_else(|| fail!(ReturnCode::BAD_SEQUENCE, "another call is inside this context: it is not finalized"))?;
    // SAFETY: it passed the check, and we are alone inside.
    let child = unsafe { (*ctx).child };
    // SAFETY: as above.
    unsafe { (*ctx).child = null_mut() };
    // SAFETY: as above.
    unsafe { (*ctx).tcti = null_mut() };
    if !child.is_null() {
        // SAFETY: it is a box of ours, and nobody else has it any more.
        drop(unsafe { Box::from_raw(child) });
    }
    Ok(())
}
