// SPDX-License-Identifier: BSD-2-Clause
//! The memory of a context: the vtable that C reads, then one pointer to our session. That pointer is also the lock
//! and the state: null before Init and after Finalize, [`BUSY`] while a call is inside, else a boxed session. Behind it is
//! a second magic, which no C module writes. A module that wraps another one has a pointer to that context behind them,
//! see [`Wrapped`](tcti_core::transport::Wrapped).

use core::mem::offset_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use tcti_core::abi::{TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V2};
use tcti_core::session::Session;
use tcti_core::transport::Module;
use tcti_core::{Result, ReturnCode};

/// What the caller allocates.
#[repr(C)]
pub(super) struct Context {
    head: TSS2_TCTI_CONTEXT_COMMON_V2,
    session: *mut (),
    identity: u64,
}

/// Bytes of a context of every module that wraps no other.
pub const CONTEXT_SIZE: usize = size_of::<Context>();

/// Bytes of a context of `T`.
pub(super) const fn size<T: Module>() -> usize {
    match &T::WRAPPED {
        None => CONTEXT_SIZE,
        Some(wrapped) => {
            assert!(wrapped.offset >= CONTEXT_SIZE && wrapped.offset % align_of::<*mut ()>() == 0);
            wrapped.offset + size_of::<*mut ()>()
        }
    }
}

/// What contexts of `T` have as their identity. Another number here for each layout of [`Context`].
const fn identity<T: Module>() -> u64 {
    T::IDENTITY ^ 0x3e0d_97c2_61b8_4af5
}

/// Stands in the pointer while a call is inside; no box has this address.
const BUSY: *mut () = core::ptr::without_provenance_mut(1);

/// A context that passed its checks.
#[derive(Clone, Copy)]
pub(super) struct ContextRef(*mut Context);

impl ContextRef {
    /// Memory for a new context: `BAD_VALUE` unless it is aligned as malloc aligns.
    ///
    /// # Safety
    /// `ctx` is NULL or points to as many writable bytes as [`size`] says, which may be uninitialised.
    pub(super) unsafe fn prepare<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT) -> Result<ContextRef> {
        let ctx: *mut Context = ctx.cast();
        if !ctx.is_aligned() {
            return Err(tcti_core::fail!(
                ReturnCode::BAD_VALUE,
                "the memory for the context must be aligned to {} bytes, as malloc does",
                align_of::<Context>()
            ));
        }
        // SAFETY: the caller owns this memory and no other thread knows it yet.
        unsafe { ctx.cast::<u8>().write_bytes(0, const { size::<T>() }) };
        Ok(ContextRef(ctx))
    }

    /// Fills prepared memory; the head last, which makes it a context.
    ///
    /// # Safety
    /// `self` comes from `prepare::<T>` and the memory is still the caller's.
    pub(super) unsafe fn install<T: Module>(self, session: Box<Session<T>>, head: TSS2_TCTI_CONTEXT_COMMON_V2) {
        // SAFETY: the caller says that the memory is valid and of this size.
        unsafe { self.show(Some(&session)) };
        let boxed: *mut () = Box::into_raw(session).cast();
        // SAFETY: the caller says the memory is valid; nobody else reads it before Init returns.
        unsafe { self.slot().write(boxed) };
        // SAFETY: as above.
        unsafe { self.identity().write(const { identity::<T>() }) };
        // SAFETY: as above; the head comes first.
        unsafe { self.0.cast::<TSS2_TCTI_CONTEXT_COMMON_V2>().write(head) };
    }

    /// A context of `T` from C. NULL is `BAD_REFERENCE`, a context of another module `BAD_CONTEXT`, also where that has
    /// the same magic: the C modules mssim and cmd share theirs, and a program may load a C module together with ours.
    ///
    /// # Safety
    /// `ctx` is NULL or points to a live context, of whatever module; with the magic of `T` it has the size of a context
    /// of that module, ours or the one in C, and the latter is not smaller.
    pub(super) unsafe fn check<T: Module>(ctx: *mut TSS2_TCTI_CONTEXT) -> Result<ContextRef> {
        let ctx: *mut Context = ctx.cast();
        if ctx.is_null() {
            return Err(tcti_core::fail!(ReturnCode::BAD_REFERENCE, "the context is NULL"));
        }
        // SAFETY: every context of every module opens with its magic.
        let magic = unsafe { ctx.cast::<u64>().read() };
        if magic != T::MAGIC {
            return Err(tcti_core::fail!(
                ReturnCode::BAD_CONTEXT,
                "a context with magic {magic:#018x} is none of this module, whose magic is {:#018x}",
                T::MAGIC
            ));
        }
        // SAFETY: the caller says that the memory reaches so far; it may be of another module, for which any value is one.
        if unsafe { ContextRef(ctx).identity().read() } != const { identity::<T>() } {
            return Err(tcti_core::fail!(
                ReturnCode::BAD_CONTEXT,
                "the context has this module's magic {magic:#018x}, but another module has made it"
            ));
        }
        Ok(ContextRef(ctx))
    }

    /// Where the second magic is.
    const fn identity(self) -> *mut u64 {
        self.0.wrapping_byte_add(offset_of!(Context, identity)).cast()
    }

    /// Where the pointer to the session is.
    const fn slot(self) -> *mut *mut () {
        self.0.wrapping_byte_add(offset_of!(Context, session)).cast()
    }

    /// Shows what the session wraps, or NULL, where C looks for it.
    ///
    /// # Safety
    /// `self` points to memory of the size of a context of `T`, and no other call is inside.
    unsafe fn show<T: Module>(self, session: Option<&Session<T>>) {
        if let Some(wrapped) = &T::WRAPPED {
            let context = session.map_or(null_mut(), |session| (wrapped.context)(session.transport()));
            // SAFETY: `size` has room for a pointer at this offset, which it has checked.
            unsafe { self.0.wrapping_byte_add(wrapped.offset).cast::<*mut TSS2_TCTI_CONTEXT>().write(context) };
        }
    }

    /// Takes the session out while a call is inside. `BAD_SEQUENCE` when another call is, and after Finalize.
    ///
    /// # Safety
    /// `self` is a live context that `install::<T>` filled.
    pub(super) unsafe fn enter<'a, T: Module>(self) -> Result<Taken<'a, T>> {
        // SAFETY: the field is aligned and lives as long as the context.
        let slot = unsafe { AtomicPtr::from_ptr(self.slot()) };
        let session = slot.load(Ordering::Acquire);
        if session.is_null() {
            return Err(tcti_core::fail!(
                ReturnCode::BAD_SEQUENCE,
                "the context was finalized, or lost to an internal error"
            ));
        }
        if session == BUSY || slot.compare_exchange(session, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(tcti_core::fail!(ReturnCode::BAD_SEQUENCE, "another call is inside this context"));
        }
        // SAFETY: install made this box from a Session<T>, and BUSY in its place keeps every other call out.
        let session = unsafe { Box::from_raw(session.cast()) };
        Ok(Taken { context: self, slot, session: Some(session) })
    }
}

/// A session taken out of its context; whoever drops it leaves null there.
pub(super) struct Taken<'a, T: Module> {
    context: ContextRef,
    slot: &'a AtomicPtr<()>,
    session: Option<Box<Session<T>>>,
}

impl<T: Module> Taken<'_, T> {
    /// The session.
    pub(super) fn session(&mut self) -> Result<&mut Session<T>> {
        self.session.as_deref_mut().ok_or(ReturnCode::BAD_SEQUENCE.into())
    }

    /// Puts the session back. Dropping instead ends it: in Finalize, and when a panic unwinds.
    pub(super) fn leave(mut self) {
        if let Some(session) = self.session.take() {
            // SAFETY: the context is live, for this call is inside, and no other one is.
            unsafe { self.context.show(Some(&session)) };
            self.slot.store(Box::into_raw(session).cast(), Ordering::Release);
        }
    }
}

impl<T: Module> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _finalized = Finalized(self.slot); // even when the transport's own drop panics
            // SAFETY: the context is live, for this call is inside, and no other one is.
            unsafe { self.context.show::<T>(None) };
            drop(session);
        }
    }
}

/// Leaves null in a context.
struct Finalized<'a>(&'a AtomicPtr<()>);

impl Drop for Finalized<'_> {
    fn drop(&mut self) {
        self.0.store(null_mut(), Ordering::Release);
    }
}

const _: () = {
    assert!(offset_of!(Context, head) == 0);
    assert!(offset_of!(Context, session) == size_of::<TSS2_TCTI_CONTEXT_COMMON_V2>());
    let end = size_of::<TSS2_TCTI_CONTEXT_COMMON_V2>() + size_of::<*mut ()>();
    assert!(CONTEXT_SIZE == end.next_multiple_of(align_of::<u64>()) + size_of::<u64>());
};
