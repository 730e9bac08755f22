// SPDX-License-Identifier: BSD-2-Clause
//! The memory of a context: the head that C reads, a pointer to the session, and the calls in progress, of which there is one at
//! a time. The pointer is null before Init, during a call and after Finalize, otherwise it is that of a boxed session. A module
//! that wraps another context ends with a pointer to that, see [`Wrapped`](tcti_core::transport::Wrapped). A call uses
//! [`ContextRef::check`], then [`ContextRef::enter`].

use super::calls::{Calls, Inside};
use super::origin;
use super::thunks::head;
use core::mem::offset_of;
use core::ptr::null_mut;
use tcti_core::abi::{TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V2};
use tcti_core::session::Session;
use tcti_core::transport::Module;
use tcti_core::{Result, ReturnCode};

/// The structure that the caller allocates.
#[repr(C)]
pub(super) struct Context {
    head: TSS2_TCTI_CONTEXT_COMMON_V2,
    session: *mut (),
    calls: Calls,
}

/// The size in bytes of a context that wraps no other one.
pub const CONTEXT_SIZE: usize = size_of::<Context>();

/// Returns the size in bytes of a context of `T`.
pub(super) const fn size<T: Module>() -> usize {
    match &T::WRAPPED {
        None => CONTEXT_SIZE,
        Some(wrapped) => {
            assert!(wrapped.offset >= CONTEXT_SIZE && wrapped.offset % align_of::<*mut ()>() == 0);
            wrapped.offset + size_of::<*mut ()>()
        }
    }
}

/// A context that has passed the checks.
#[derive(Clone, Copy)]
pub(super) struct ContextRef(*mut Context);

impl ContextRef {
    /// Clears the memory for a new context. Fails with `BAD_VALUE` unless the memory is aligned as by malloc.
    ///
    /// # Safety
    /// `ctx` points to as many writable bytes as [`size`] returns; they may be uninitialised.
    pub(super) unsafe fn prepare<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT) -> Result<ContextRef> {
        let ctx: *mut Context = ctx.cast();
        if !ctx.is_aligned() {
            return Err(tcti_core::fail!(
                ReturnCode::BAD_VALUE,
                "the memory for the context must be aligned to {} bytes, as malloc does",
                align_of::<Context>()
            ));
        }
        // SAFETY: the caller guarantees that the memory is writable and has this size.
        unsafe { ctx.cast::<u8>().write_bytes(0, const { size::<T>() }) };
        Ok(ContextRef(ctx))
    }

    /// Fills prepared memory. Writes the head last, which makes the memory a context.
    ///
    /// # Safety
    /// `self` comes from `prepare::<T>`, and the memory is still valid.
    pub(super) unsafe fn install<T: Module>(self, session: Box<Session<T>>) {
        // SAFETY: the caller guarantees that the memory is valid and was prepared for `T`.
        unsafe { self.expose_wrapped(Some(&session)) };
        let boxed: *mut () = Box::into_raw(session).cast();
        // SAFETY: the caller guarantees that the memory is valid; no other thread reads it before Init returns.
        unsafe { self.slot().write(boxed) };
        // SAFETY: the caller guarantees this, as above; the head is the first field.
        unsafe { self.0.cast::<TSS2_TCTI_CONTEXT_COMMON_V2>().write(head::<T>()) };
    }

    /// Checks that C has passed a context that the Init of `T` made, see [`origin::check`].
    ///
    /// # Safety
    /// `ctx` is NULL or points to a live context of any module.
    pub(super) unsafe fn check<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT) -> Result<ContextRef> {
        // SAFETY: the caller guarantees what `origin::check` requires.
        unsafe { origin::check(ctx, &const { head::<T>() }.v1) }?;
        Ok(ContextRef(ctx.cast()))
    }

    /// Returns the address of the pointer to the session.
    const fn slot(self) -> *mut *mut () {
        self.0.wrapping_byte_add(offset_of!(Context, session)).cast()
    }

    /// Stores the address of the context that the session wraps, or NULL, in the field where C looks for it.
    ///
    /// # Safety
    /// `self` points to memory of the size of a context of `T`, and no other call is using it.
    unsafe fn expose_wrapped<T: Module>(self, session: Option<&Session<T>>) {
        if let Some(wrapped) = &T::WRAPPED {
            let context = session.map_or(null_mut(), |session| (wrapped.context)(session.transport()));
            // SAFETY: the caller guarantees the size; `size` includes a pointer at this offset and has checked its alignment.
            unsafe { self.0.wrapping_byte_add(wrapped.offset).cast::<*mut TSS2_TCTI_CONTEXT>().write(context) };
        }
    }

    /// Takes the session out of the context for the duration of a call. Fails with `BAD_SEQUENCE` during another call and
    /// after Finalize.
    ///
    /// # Safety
    /// `self` is a live context that `install::<T>` filled.
    pub(super) unsafe fn enter<'a, T: Module>(self) -> Result<Taken<'a, T>> {
        // SAFETY: the caller passes a live context.
        let inside = unsafe { self.calls() }.enter(1)?;
        // SAFETY: the caller passes a live context, and `inside` comes from it.
        unsafe { self.take(inside) }.ok_or_else(|| {
            tcti_core::fail!(
                ReturnCode::BAD_SEQUENCE,
                "the context was finalized, or lost to an internal error, or this process was forked while another thread \
                 used it"
            )
        })
    }

    /// Finalizes the context, after the call of another thread has ended. Does nothing if it was finalized before. Fails with
    /// `BAD_SEQUENCE` inside a call of the same thread, which then finalizes the context at its end.
    ///
    /// # Safety
    /// `self` is a live context that `install::<T>` filled.
    pub(super) unsafe fn finalize<T: Module>(self) -> Result<()> {
        // SAFETY: the caller passes a live context.
        let inside = unsafe { self.calls() }.enter_last()?;
        // SAFETY: the caller passes a live context, and `inside` comes from it.
        drop(unsafe { self.take::<T>(inside) });
        Ok(())
    }

    /// Returns the calls in progress.
    ///
    /// # Safety
    /// `self` is a live context that `install::<T>` filled, for as long as the result is used.
    unsafe fn calls<'a>(self) -> &'a Calls {
        let calls: *const Calls = self.0.wrapping_byte_add(offset_of!(Context, calls)).cast();
        // SAFETY: the caller passes a live context, whose field is aligned and never referred to by `&mut`.
        unsafe { &*calls }
    }

    /// Takes the session out of the context; `None` if it was taken already.
    ///
    /// # Safety
    /// `self` is a live context that `install::<T>` filled, and `inside` comes from it.
    unsafe fn take<T: Module>(self, inside: Inside<'_>) -> Option<Taken<'_, T>> {
        // SAFETY: the caller passes a live context, and `inside` excludes every other call.
        let session = unsafe { self.slot().replace(null_mut()) };
        // SAFETY: `install::<T>` made this pointer from a box, and null has replaced it.
        let session = (!session.is_null()).then(|| unsafe { Box::from_raw(session.cast()) })?;
        Some(Taken { context: self, session: Some(session), inside })
    }
}

/// A session that was taken out of its context. Dropping it finalizes the context.
pub(super) struct Taken<'a, T: Module> {
    context: ContextRef,
    session: Option<Box<Session<T>>>,
    /// Dropped last: from then on the caller may free the memory.
    inside: Inside<'a>,
}

impl<T: Module> Taken<'_, T> {
    /// Returns the session.
    pub(super) fn session(&mut self) -> Result<&mut Session<T>> {
        self.session.as_deref_mut().ok_or(ReturnCode::BAD_SEQUENCE.into())
    }

    /// Puts the session back, unless Finalize was called meanwhile. Without this call the session is dropped: in Finalize, and
    /// when a panic unwinds.
    pub(super) fn leave(mut self) {
        if self.inside.is_last() {
            return;
        }
        if let Some(session) = self.session.take() {
            // SAFETY: the caller of `enter` keeps the context alive during the call, and `inside` excludes every other call.
            unsafe { self.context.expose_wrapped(Some(&session)) };
            // SAFETY: the caller of `enter` and `inside` guarantee this, as above.
            unsafe { self.context.slot().write(Box::into_raw(session).cast()) };
        }
    }
}

impl<T: Module> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // SAFETY: the caller of `enter` keeps the context alive during the call, and `inside` excludes every other call.
            unsafe { self.context.expose_wrapped::<T>(None) };
            drop(session);
        }
    }
}

const _: () = {
    assert!(offset_of!(Context, head) == 0);
    assert!(offset_of!(Context, session) == size_of::<TSS2_TCTI_CONTEXT_COMMON_V2>());
    let end = size_of::<TSS2_TCTI_CONTEXT_COMMON_V2>() + 3 * size_of::<*mut ()>();
    assert!(CONTEXT_SIZE == end.next_multiple_of(align_of::<u64>()));
};
