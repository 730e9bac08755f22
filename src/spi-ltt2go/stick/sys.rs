// SPDX-License-Identifier: BSD-2-Clause
//! Two transfers of libusb under way at once: bytes out and bytes in, for the price of one turn of the bus. Each has a
//! buffer of its own on the heap, so that nothing of the caller's is in libusb's hands, and both have come back before
//! a call ends.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use core::ffi::c_int;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, Ordering};
use libusb1_sys::constants::{
    LIBUSB_ERROR_BUSY, LIBUSB_ERROR_INTERRUPTED, LIBUSB_ERROR_NO_DEVICE, LIBUSB_ERROR_NO_MEM,
    LIBUSB_TRANSFER_COMPLETED, LIBUSB_TRANSFER_NO_DEVICE, LIBUSB_TRANSFER_OVERFLOW, LIBUSB_TRANSFER_STALL,
    LIBUSB_TRANSFER_TIMED_OUT, LIBUSB_TRANSFER_TYPE_BULK,
};
use libusb1_sys::{
    libusb_alloc_transfer, libusb_cancel_transfer, libusb_free_transfer, libusb_handle_events_timeout_completed,
    libusb_submit_transfer, libusb_transfer,
};
use rusb::{Context, DeviceHandle, Error, Result, UsbContext};
use std::time::{Duration, Instant};

/// libusb looks at its own timers in between, so this is no time-out.
const TURN: libc::timeval = libc::timeval { tv_sec: 0, tv_usec: 250_000 };
/// How long libusb may take to give a transfer back whose time is over; then how long, when it was told to.
const GRACE: Duration = Duration::from_secs(1);
/// So often may libusb fail to handle events before we give its transfers up.
const MAX_FAILURES: u32 = 16;

/// What libusb works with while a transfer is under way.
struct Slot<const N: usize> {
    /// Whether the transfer is with us. libusb's callback sets it.
    idle: AtomicBool,
    buffer: [u8; N],
}

/// A transfer of up to `N` bytes.
struct Bulk<const N: usize> {
    transfer: NonNull<libusb_transfer>,
    slot: NonNull<Slot<N>>,
}

// SAFETY: a transfer belongs to no thread, and the value is used by one at a time.
unsafe impl<const N: usize> Send for Bulk<N> {}

extern "system" fn came_back(transfer: *mut libusb_transfer) {
    // SAFETY: libusb passes the transfer that it gives back.
    let idle = unsafe { (*transfer).user_data }.cast::<AtomicBool>();
    // SAFETY: `start` put the address of a flag there, which lives until it is set.
    unsafe { &*idle }.store(true, Ordering::Release);
}

impl<const N: usize> Bulk<N> {
    fn new() -> Result<Bulk<N>> {
        // SAFETY: it takes no isochronous packets and no memory of ours.
        let transfer = NonNull::new(unsafe { libusb_alloc_transfer(0) }).ok_or(Error::NoMem)?;
        let slot = Box::new(Slot { idle: AtomicBool::new(true), buffer: [0; N] });
        Ok(Bulk { transfer, slot: NonNull::from(Box::leak(slot)) })
    }

    fn idle(&self) -> &AtomicBool {
        // SAFETY: the slot lives as long as we do, and nobody writes its flag but as an atomic.
        unsafe { &(*self.slot.as_ptr()).idle }
    }

    fn is_idle(&self) -> bool {
        self.idle().load(Ordering::Acquire)
    }

    /// The buffer of an idle transfer.
    fn buffer(&mut self) -> &mut [u8; N] {
        // SAFETY: libusb uses the buffer only while the transfer is under way, which `exchange` sits out.
        unsafe { &mut (*self.slot.as_ptr()).buffer }
    }

    /// Begins to move `count` bytes, at most `N`.
    fn start(&mut self, handle: &DeviceHandle<Context>, endpoint: u8, count: usize, timeout: Duration) -> Result<()> {
        let filled = libusb_transfer {
            dev_handle: handle.as_raw(),
            flags: 0,
            endpoint,
            transfer_type: LIBUSB_TRANSFER_TYPE_BULK,
            timeout: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
            status: 0,
            length: c_int::try_from(count.min(N)).map_err(|_| Error::InvalidParam)?,
            actual_length: 0,
            callback: came_back,
            user_data: (&raw const *self.idle()).cast_mut().cast(),
            buffer: self.buffer().as_mut_ptr(),
            num_iso_packets: 0,
            iso_packet_desc: [],
        };
        // SAFETY: the transfer is allocated, idle and ours.
        unsafe { self.transfer.as_ptr().write(filled) };
        self.idle().store(false, Ordering::Release);
        // SAFETY: the transfer is filled; its buffer and its flag live until it is idle again.
        let error = unsafe { libusb_submit_transfer(self.transfer.as_ptr()) };
        if error != 0 {
            self.idle().store(true, Ordering::Release);
            return Err(of_code(error));
        }
        Ok(())
    }

    /// Asks for it back, unless it is idle.
    fn cancel(&self) {
        if !self.is_idle() {
            // SAFETY: the transfer is submitted. One that just came back is an error that does not matter.
            unsafe { libusb_cancel_transfer(self.transfer.as_ptr()) };
        }
    }

    /// How an idle transfer ended: how many bytes were moved. Those of one that failed do not count.
    fn outcome(&self) -> Result<usize> {
        // SAFETY: the transfer is idle.
        let transfer = unsafe { self.transfer.as_ref() };
        let moved = usize::try_from(transfer.actual_length).unwrap_or_default();
        match transfer.status {
            LIBUSB_TRANSFER_COMPLETED => Ok(moved),
            LIBUSB_TRANSFER_TIMED_OUT => Err(Error::Timeout),
            LIBUSB_TRANSFER_STALL => Err(Error::Pipe),
            LIBUSB_TRANSFER_NO_DEVICE => Err(Error::NoDevice),
            LIBUSB_TRANSFER_OVERFLOW => Err(Error::Overflow),
            _ => Err(Error::Io),
        }
    }
}

impl<const N: usize> Drop for Bulk<N> {
    fn drop(&mut self) {
        if self.is_idle() {
            // SAFETY: it is allocated, idle, and freed once.
            unsafe { libusb_free_transfer(self.transfer.as_ptr()) };
            // SAFETY: `new` leaked it from a box, and nobody else has it any more.
            drop(unsafe { Box::from_raw(self.slot.as_ptr()) });
        }
        // Else libusb did not give it back and may still write to it: it is lost rather than freed.
    }
}

/// One transfer out and one in, of up to `N` bytes.
pub(crate) struct Pair<const N: usize> {
    out: Bulk<N>,
    into: Bulk<N>,
    /// Of bulk endpoints, out and in.
    endpoints: [u8; 2],
    // Closed after the transfers are freed.
    handle: DeviceHandle<Context>,
}

impl<const N: usize> Pair<N> {
    /// Moves bytes through two bulk endpoints of a claimed interface.
    pub(crate) fn new(handle: DeviceHandle<Context>, endpoints: [u8; 2]) -> Result<Pair<N>> {
        Ok(Pair { out: Bulk::new()?, into: Bulk::new()?, endpoints, handle })
    }

    /// The device, for transfers of other kinds.
    pub(crate) fn handle(&self) -> &DeviceHandle<Context> {
        &self.handle
    }

    /// Sends `out`, and receives up to as many bytes as `into` has, both begun at once. Gives how many came.
    /// `InvalidParam` for more than `N` bytes.
    pub(crate) fn exchange(&mut self, out: &[u8], into: &mut [u8], timeout: Duration) -> Result<usize> {
        self.out.buffer().get_mut(..out.len()).ok_or(Error::InvalidParam)?.copy_from_slice(out);
        let [to, from] = self.endpoints;
        self.out.start(&self.handle, to, out.len(), timeout)?;
        let started = self.into.start(&self.handle, from, into.len(), timeout);
        if started.is_err() {
            self.out.cancel();
        }
        self.settle(timeout)?;
        started?;
        let (sent, count) = (self.out.outcome()?, self.into.outcome()?);
        let came = self.into.buffer().get(..count).ok_or(Error::Overflow)?;
        into.get_mut(..count).ok_or(Error::Overflow)?.copy_from_slice(came);
        if sent == out.len() { Ok(count) } else { Err(Error::Io) }
    }

    /// Waits until both transfers are back. When the one out failed nothing will come in.
    fn settle(&mut self, timeout: Duration) -> Result<()> {
        let begin = Instant::now();
        let (mut failures, mut cancelled) = (0, false);
        while !(self.out.is_idle() && self.into.is_idle()) {
            let is_vain = failures > 0 || begin.elapsed() > timeout + GRACE;
            if !cancelled && (is_vain || self.out.is_idle() && self.out.outcome().is_err()) {
                self.out.cancel();
                self.into.cancel();
                cancelled = true;
            }
            if failures > MAX_FAILURES || begin.elapsed() > timeout + 2 * GRACE {
                return Err(Error::Io);
            }
            let context = self.handle.context().as_raw();
            // SAFETY: the context lives as long as the handle, and libusb reads the time; it takes a NULL for a flag
            // that nobody else sets.
            match unsafe { libusb_handle_events_timeout_completed(context, &TURN, null_mut()) } {
                0 | LIBUSB_ERROR_INTERRUPTED => {}
                _ => failures += 1,
            }
        }
        Ok(())
    }
}

fn of_code(error: c_int) -> Error {
    match error {
        LIBUSB_ERROR_NO_DEVICE => Error::NoDevice,
        LIBUSB_ERROR_NO_MEM => Error::NoMem,
        LIBUSB_ERROR_BUSY => Error::Busy,
        _ => Error::Io,
    }
}
