// SPDX-License-Identifier: BSD-2-Clause
//! The global allocator: malloc(3), and a static reserve for when that fails. Calls that succeed do not allocate, and buffers of
//! responses grow with `try_reserve`, whose failure is `MEMORY`. Init and error messages do allocate, strings above all, in our
//! code and in std; without memory Rust would abort the host process there. Those allocations come from the reserve instead,
//! until the call returns: [`without_reserve`] keeps everything that outlives Init out of it. [`check`] rejects a call that
//! might exhaust the reserve, because other threads are using it.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, copy_nonoverlapping, null_mut};
use core::sync::atomic::{AtomicU32, Ordering};
use std::alloc::System;
use tcti_core::{Error, Result, ReturnCode};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new();

/// Fails with `MEMORY` if so much of the reserve is in use that the rest may not suffice for a call.
pub(super) fn check() -> Result<()> {
    match ALLOCATOR.is_low() {
        true => Err(tcti_core::fail!(
            ReturnCode::MEMORY,
            "there is no memory, and the reserve for this case is nearly exhausted"
        )),
        false => Ok(()),
    }
}

/// Creates a value that outlives the call. Fails with `MEMORY` if a part of it was allocated from the reserve.
pub fn without_reserve<T>(create: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = ALLOCATOR.in_use();
    let value = create()?;
    match ALLOCATOR.in_use() > before {
        true => Err(no_memory()),
        false => Ok(value),
    }
}

/// Moves a value of any size to the heap, never to the reserve. Fails with `MEMORY`.
pub(super) fn boxed<T>(value: T) -> Result<Box<T>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the size is not zero.
    let block: *mut T = unsafe { System.alloc(Layout::new::<T>()) }.cast();
    if block.is_null() {
        return Err(no_memory());
    }
    // SAFETY: malloc(3) has returned a block of this size and alignment.
    unsafe { block.write(value) };
    // SAFETY: the block has the layout of `T` and holds a value; the global allocator passes it back to malloc.
    Ok(unsafe { Box::from_raw(block) })
}

fn no_memory() -> Error {
    tcti_core::fail!(ReturnCode::MEMORY, "no memory for a context")
}

/// malloc(3) with a reserve of three sizes of blocks. The pages of the reserve occupy no memory until they are used.
struct Allocator {
    small: Pool<64, 64>,
    medium: Pool<512, 32>,
    large: Pool<8192, 4>,
}

impl Allocator {
    const fn new() -> Allocator {
        Allocator { small: Pool::new(), medium: Pool::new(), large: Pool::new() }
    }

    /// Returns whether more than half of a pool is in use. Every call checks this and almost always finds no block in use, so
    /// the bits are counted only if any is set.
    fn is_low(&self) -> bool {
        (self.small.is_used() || self.medium.is_used() || self.large.is_used()) && self.is_low_by_count()
    }

    #[cold]
    fn is_low_by_count(&self) -> bool {
        self.small.is_low() || self.medium.is_low() || self.large.is_low()
    }

    /// Returns how many blocks of the reserve are in use.
    fn in_use(&self) -> u32 {
        self.small.in_use() + self.medium.in_use() + self.large.in_use()
    }

    /// Takes a block from the reserve; null if none fits.
    fn take(&self, layout: Layout) -> *mut u8 {
        let block = self.small.take(layout).or_else(|| self.medium.take(layout)).or_else(|| self.large.take(layout));
        block.map_or(null_mut(), NonNull::as_ptr)
    }

    /// Returns whether a block belongs to the reserve.
    fn owns(&self, block: *mut u8) -> bool {
        let begin = core::ptr::from_ref(self).addr();
        (begin..begin + size_of::<Allocator>()).contains(&block.addr())
    }

    /// Returns a block to the reserve.
    fn release(&self, block: *mut u8) {
        self.small.release(block);
        self.medium.release(block);
        self.large.release(block);
    }
}

// SAFETY: malloc or a pool returns each block, and neither hands it out again until it is released.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of GlobalAlloc.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { self.take(layout) } else { block }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of GlobalAlloc.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            return block;
        }
        let block = self.take(layout);
        if !block.is_null() {
            // SAFETY: `take` has returned a block of at least this size to this caller alone.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.owns(old) {
            // SAFETY: the caller keeps the contract of GlobalAlloc, and the block is from malloc.
            let block = unsafe { System.realloc(old, layout, size) };
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: the caller guarantees that the size, rounded up to the alignment, does not overflow.
        let new_layout = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller guarantees that the size is not zero.
        let block = unsafe { self.alloc(new_layout) };
        if !block.is_null() {
            // SAFETY: the allocator has returned two distinct blocks, each with at least this many bytes.
            unsafe { copy_nonoverlapping(old, block, layout.size().min(size)) };
            // SAFETY: the caller no longer uses the old block, which has this layout.
            unsafe { self.dealloc(old, layout) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.owns(block) {
            return self.release(block);
        }
        // SAFETY: the caller keeps the contract of GlobalAlloc, and the block is from malloc.
        unsafe { System.dealloc(block, layout) };
    }
}

/// The alignment of a block in bytes, at least what any allocation here needs.
const ALIGN: usize = 64;

#[repr(C, align(64))]
struct Block<const SIZE: usize>(UnsafeCell<[u8; SIZE]>);

/// At most 64 blocks of one size, without a lock: after a fork the thread that holds a lock may not exist.
struct Pool<const SIZE: usize, const COUNT: usize> {
    /// One bit per block, set while the block is in use. Two words, because not every architecture has 64-bit atomics.
    used: [AtomicU32; 2],
    blocks: [Block<SIZE>; COUNT],
}

// SAFETY: the thread that sets the bit of a block owns the block until it clears the bit.
unsafe impl<const SIZE: usize, const COUNT: usize> Sync for Pool<SIZE, COUNT> {}

impl<const SIZE: usize, const COUNT: usize> Pool<SIZE, COUNT> {
    const fn new() -> Self {
        assert!(COUNT <= 64 && SIZE % ALIGN == 0);
        Pool { used: [const { AtomicU32::new(0) }; 2], blocks: [const { Block(UnsafeCell::new([0; SIZE])) }; COUNT] }
    }

    fn in_use(&self) -> u32 {
        self.used.iter().map(|used| used.load(Ordering::Relaxed).count_ones()).sum()
    }

    fn is_used(&self) -> bool {
        self.used.iter().any(|used| used.load(Ordering::Relaxed) != 0)
    }

    fn is_low(&self) -> bool {
        self.in_use() as usize > COUNT / 2
    }

    fn take(&self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() > SIZE || layout.align() > ALIGN {
            return None;
        }
        self.blocks.chunks(32).zip(&self.used).find_map(|(blocks, used)| Self::take_one(blocks, used))
    }

    /// Takes one of at most 32 blocks.
    fn take_one(blocks: &[Block<SIZE>], used: &AtomicU32) -> Option<NonNull<u8>> {
        let mut seen = used.load(Ordering::Relaxed);
        loop {
            let block = blocks.get(seen.trailing_ones() as usize)?;
            match used.compare_exchange(seen, seen | (seen + 1), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return NonNull::new(block.0.get().cast()),
                Err(now) => seen = now,
            }
        }
    }

    /// Releases a block; ignores one of another pool.
    fn release(&self, block: *mut u8) {
        let offset = block.addr().wrapping_sub(self.blocks.as_ptr().addr());
        let block = offset / SIZE;
        if let Some(used) = self.used.get(block / 32).filter(|_| block < COUNT) {
            used.fetch_and(!(1 << (block % 32)), Ordering::Release);
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
    fn blocks_come_from_the_smallest_pool_and_can_be_reused() {
        let memory = Allocator::new();
        let all: Vec<*mut u8> = std::iter::from_fn(|| Some(memory.take(BYTES)).filter(|p| !p.is_null())).collect();
        assert_eq!((all.len(), memory.in_use()), (100, 100));
        assert!(all.iter().all(|block| memory.owns(*block) && block.addr() % ALIGN == 0));
        assert!(all.iter().skip(1).zip(&all).all(|(next, last)| next.addr() >= last.addr() + 64), "{all:?}");
        memory.release(all[70]);
        assert!(memory.take(Layout::new::<[u8; 513]>()).is_null(), "the free block has only 512 bytes");
        assert_eq!(memory.take(BYTES), all[70]);
        all.iter().for_each(|block| memory.release(*block));
        assert_eq!(memory.in_use(), 0);
        assert!(memory.take(Layout::new::<[u8; 8193]>()).is_null());
        assert!(memory.take(Layout::from_size_align(1, 128).unwrap()).is_null());
    }

    #[test]
    fn the_reserve_is_low_when_half_of_any_pool_is_in_use() {
        let memory = Allocator::new();
        let large = Layout::new::<[u8; 8192]>();
        let blocks: Vec<*mut u8> = (0..3).map(|_| memory.take(large)).collect();
        assert!(memory.is_low());
        memory.release(blocks[0]);
        assert!(!memory.is_low());
    }

    #[test]
    fn without_memory_small_allocations_succeed_and_large_ones_fail() {
        let no_memory = Rlimit { current: Some(0), ..getrlimit(Resource::As) };
        if Forked::status_of(|| setrlimit(Resource::As, no_memory).is_ok() && getrlimit(Resource::As) == no_memory)
            != Some(0)
        {
            return emulator_lacks("a limit of the address space (RLIMIT_AS)");
        }
        let status = Forked::status_of(|| {
            setrlimit(Resource::As, no_memory).unwrap();
            // The libc may have free blocks left whose size is between two powers of two.
            for size in (17..24).rev().map(|power| 1 << power).chain((1..=1 << 13).rev().map(|size| 16 * size)) {
                let layout = Layout::from_size_align(size, 1).unwrap();
                // SAFETY: the size is not zero; the memory is released when the child exits.
                while !unsafe { System.alloc(layout) }.is_null() {}
            }
            let mut text = format!("{:p}", &ALLOCATOR);
            text.reserve(4000); // moves from one pool to the next
            let is_from_reserve = text.starts_with("0x") && ALLOCATOR.owns(text.as_mut_ptr());
            let is_rejected = without_reserve(|| Ok(Box::new([1_u8; 32])))
                .is_err_and(|error| error == ReturnCode::MEMORY.into())
                && boxed([1_u8; 9000]).is_err();
            let is_accepted = without_reserve(|| Ok(Box::new(1_u8).leading_zeros())).is_ok();
            is_from_reserve
                && is_rejected
                && is_accepted
                && Vec::<u8>::new().try_reserve(10_000).is_err()
                && check().is_ok()
        });
        assert_eq!(status, Some(0));
    }
}
