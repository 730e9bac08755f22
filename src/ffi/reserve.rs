// SPDX-License-Identifier: BSD-2-Clause
//! Memory for the moment when malloc(3) gives none. What is large is asked for with `try_reserve`, and its absence is
//! `MEMORY`. But where a short string finds no memory, Rust ends the process, which is somebody else's. Such pieces come
//! from a reserve in the library itself then, so that a call gets to its end. [`check`] lets no call begin that might
//! not, and [`lasting`] keeps the reserve for calls.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, copy_nonoverlapping, null_mut};
use core::sync::atomic::{AtomicU32, Ordering};
use std::alloc::System;
use tcti_core::{Result, ReturnCode};

#[global_allocator]
static MEMORY: Memory = Memory::new();

/// `MEMORY` while so much of the reserve is in use that the rest may not do for a call.
pub(super) fn check() -> Result<()> {
    match MEMORY.is_low() {
        true => Err(tcti_core::fail!(
            ReturnCode::MEMORY,
            "there is no memory, and little is left of what is kept for that case"
        )),
        false => Ok(()),
    }
}

/// Makes something that outlives the call; `MEMORY` where a part of it would be of the reserve.
pub fn lasting<T>(make: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = MEMORY.in_use();
    let made = make()?;
    match MEMORY.in_use() > before {
        true => Err(tcti_core::fail!(ReturnCode::MEMORY, "there is no memory for a context")),
        false => Ok(made),
    }
}

/// malloc, and the reserve behind it. Its pages take no memory until they are used.
struct Memory {
    small: Pool<64, 64>,
    medium: Pool<512, 64>,
    large: Pool<8192, 16>,
}

impl Memory {
    const fn new() -> Memory {
        Memory { small: Pool::new(), medium: Pool::new(), large: Pool::new() }
    }

    /// Asked in every call, where almost always nothing is in use; counting bits takes longer than all the rest.
    fn is_low(&self) -> bool {
        (self.small.is_touched() || self.medium.is_touched() || self.large.is_touched()) && self.is_counted_low()
    }

    #[cold]
    fn is_counted_low(&self) -> bool {
        self.small.is_low() || self.medium.is_low() || self.large.is_low()
    }

    /// Pieces of the reserve.
    fn in_use(&self) -> u32 {
        self.small.in_use() + self.medium.in_use() + self.large.in_use()
    }

    /// A piece of the reserve, or null.
    fn take(&self, layout: Layout) -> *mut u8 {
        let piece = self.small.take(layout).or_else(|| self.medium.take(layout)).or_else(|| self.large.take(layout));
        piece.map_or(null_mut(), NonNull::as_ptr)
    }

    /// Whether a piece is of the reserve.
    fn owns(&self, piece: *mut u8) -> bool {
        let begin = core::ptr::from_ref(self).addr();
        (begin..begin + size_of::<Memory>()).contains(&piece.addr())
    }

    fn give_back(&self, piece: *mut u8) {
        self.small.give_back(piece);
        self.medium.give_back(piece);
        self.large.give_back(piece);
    }
}

// SAFETY: each piece is one of malloc's, or one of the reserve that nobody else has until it is given back.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the promises of GlobalAlloc.
        let piece = unsafe { System.alloc(layout) };
        if piece.is_null() { self.take(layout) } else { piece }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the promises of GlobalAlloc.
        let piece = unsafe { System.alloc_zeroed(layout) };
        if !piece.is_null() {
            return piece;
        }
        let piece = self.take(layout);
        if !piece.is_null() {
            // SAFETY: the piece is ours alone, and has as many bytes.
            unsafe { piece.write_bytes(0, layout.size()) };
        }
        piece
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.owns(old) {
            // SAFETY: the caller keeps the promises of GlobalAlloc, and it is a piece of malloc's.
            let piece = unsafe { System.realloc(old, layout, size) };
            if !piece.is_null() {
                return piece;
            }
        }
        // SAFETY: the caller promises that the size, rounded up to the alignment, is no overflow.
        let new_layout = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller promises that the size is not zero.
        let piece = unsafe { self.alloc(new_layout) };
        if !piece.is_null() {
            // SAFETY: the pieces are two, and each has as many bytes.
            unsafe { copy_nonoverlapping(old, piece, layout.size().min(size)) };
            // SAFETY: the caller has no use for the old one.
            unsafe { self.dealloc(old, layout) };
        }
        piece
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if self.owns(piece) {
            return self.give_back(piece);
        }
        // SAFETY: the caller keeps the promises of GlobalAlloc, and it is a piece of malloc's.
        unsafe { System.dealloc(piece, layout) };
    }
}

/// Alignment of a piece, more than anything here asks for.
const ALIGN: usize = 64;

#[repr(C, align(64))]
struct Piece<const SIZE: usize>(UnsafeCell<[u8; SIZE]>);

/// At most 64 pieces of one size. Nobody waits here for another thread: in a child process there is none that could
/// finish.
struct Pool<const SIZE: usize, const COUNT: usize> {
    /// A bit for each piece that is in use. Not every machine has atomic numbers of 64 bits.
    used: [AtomicU32; 2],
    pieces: [Piece<SIZE>; COUNT],
}

// SAFETY: a piece is that of whoever set its bit, until the bit is cleared.
unsafe impl<const SIZE: usize, const COUNT: usize> Sync for Pool<SIZE, COUNT> {}

impl<const SIZE: usize, const COUNT: usize> Pool<SIZE, COUNT> {
    const fn new() -> Self {
        assert!(COUNT <= 64 && SIZE % ALIGN == 0);
        Pool { used: [const { AtomicU32::new(0) }; 2], pieces: [const { Piece(UnsafeCell::new([0; SIZE])) }; COUNT] }
    }

    fn in_use(&self) -> u32 {
        self.used.iter().map(|used| used.load(Ordering::Relaxed).count_ones()).sum()
    }

    fn is_touched(&self) -> bool {
        self.used.iter().any(|used| used.load(Ordering::Relaxed) != 0)
    }

    fn is_low(&self) -> bool {
        self.in_use() as usize > COUNT / 2
    }

    fn take(&self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() > SIZE || layout.align() > ALIGN {
            return None;
        }
        self.pieces.chunks(32).zip(&self.used).find_map(|(pieces, used)| Self::take_one(pieces, used))
    }

    /// One of at most 32 pieces.
    fn take_one(pieces: &[Piece<SIZE>], used: &AtomicU32) -> Option<NonNull<u8>> {
        let mut seen = used.load(Ordering::Relaxed);
        loop {
            let piece = pieces.get(seen.trailing_ones() as usize)?;
            match used.compare_exchange(seen, seen | (seen + 1), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return NonNull::new(piece.0.get().cast()),
                Err(now) => seen = now,
            }
        }
    }

    /// Does nothing with a piece of another pool.
    fn give_back(&self, piece: *mut u8) {
        let offset = piece.addr().wrapping_sub(self.pieces.as_ptr().addr());
        let piece = offset / SIZE;
        if let Some(used) = self.used.get(piece / 32).filter(|_| piece < COUNT) {
            used.fetch_and(!(1 << (piece % 32)), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use tcti_core::testing::Forked;
    use tcti_core::testing::emulator_lacks;

    const BYTES: Layout = Layout::new::<[u8; 64]>();

    #[test]
    fn pieces_are_of_the_smallest_pool_that_has_one_and_come_back() {
        let memory = Memory::new();
        let all: Vec<*mut u8> = std::iter::from_fn(|| Some(memory.take(BYTES)).filter(|p| !p.is_null())).collect();
        assert_eq!((all.len(), memory.in_use()), (144, 144));
        assert!(all.iter().all(|piece| memory.owns(*piece) && piece.addr() % ALIGN == 0));
        assert!(all.iter().skip(1).zip(&all).all(|(next, last)| next.addr() >= last.addr() + 64), "{all:?}");
        memory.give_back(all[70]);
        assert!(memory.take(Layout::new::<[u8; 513]>()).is_null(), "it is one of 512 bytes");
        assert_eq!(memory.take(BYTES), all[70]);
        all.iter().for_each(|piece| memory.give_back(*piece));
        assert_eq!(memory.in_use(), 0);
        assert!(memory.take(Layout::new::<[u8; 8193]>()).is_null());
        assert!(memory.take(Layout::from_size_align(1, 128).unwrap()).is_null());
    }

    #[test]
    fn the_reserve_is_low_when_half_of_any_pool_is_in_use() {
        let memory = Memory::new();
        let large = Layout::new::<[u8; 8192]>();
        let pieces: Vec<*mut u8> = (0..9).map(|_| memory.take(large)).collect();
        assert!(memory.is_low());
        memory.give_back(pieces[0]);
        assert!(!memory.is_low());
    }

    #[test]
    fn without_memory_small_things_work_and_large_ones_are_refused() {
        let no_memory = Rlimit { current: Some(0), ..getrlimit(Resource::As) };
        if Forked::status_of(|| setrlimit(Resource::As, no_memory).is_ok() && getrlimit(Resource::As) == no_memory)
            != Some(0)
        {
            return emulator_lacks("a limit of the address space (RLIMIT_AS)");
        }
        let in_vain = Forked::status_of(|| {
            setrlimit(Resource::As, no_memory).unwrap();
            // An allocator may have room left for sizes between two powers of two.
            for size in (17..24).rev().map(|power| 1 << power).chain((1..=1 << 13).rev().map(|size| 16 * size)) {
                let layout = Layout::from_size_align(size, 1).unwrap();
                // SAFETY: the size is not zero; the child ends with what it takes.
                while !unsafe { System.alloc(layout) }.is_null() {}
            }
            let mut text = format!("{:p}", &MEMORY);
            text.reserve(4000); // grows from one pool to the next
            let is_kept = text.starts_with("0x") && MEMORY.owns(text.as_mut_ptr());
            let outlives = lasting(|| Ok(Box::new([1_u8; 32]))).is_err_and(|rc| rc == ReturnCode::MEMORY.into());
            let passes = lasting(|| Ok(Box::new(1_u8).leading_zeros())).is_ok();
            is_kept && outlives && passes && Vec::<u8>::new().try_reserve(10_000).is_err() && check().is_ok()
        });
        assert_eq!(in_vain, Some(0));
    }
}
