// SPDX-License-Identifier: BSD-2-Clause
//! Runs two transfers of libusb at the same time, [`Pair`]: bytes out and bytes in, in one round trip of the bus. Each has
//! its own buffer on the heap, so that libusb never holds memory of the caller, and both are complete before a call returns.
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
use zeroize::Zeroize;

/// The longest wait for an event of libusb; libusb handles the time-outs of transfers itself.
const EVENT_TIMEOUT: libc::timeval = libc::timeval { tv_sec: 0, tv_usec: 250_000 };
/// How long libusb may take to complete a transfer after its time-out, and again after it was cancelled.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(1);
/// How many times libusb may fail to handle events before the transfers are given up.
const MAX_FAILURES: u32 = 16;

/// The memory that libusb uses while a transfer is in progress.
struct Shared<const N: usize> {
    /// Whether no transfer is in progress. Set by the callback.
    idle: AtomicBool,
    buffer: [u8; N],
}

/// A transfer of up to `N` bytes.
struct Bulk<const N: usize> {
    transfer: NonNull<libusb_transfer>,
    shared: NonNull<Shared<N>>,
}

// SAFETY: libusb does not bind a transfer to a thread, and `Bulk` owns both pointers.
unsafe impl<const N: usize> Send for Bulk<N> {}

extern "system" fn completed(transfer: *mut libusb_transfer) {
    // SAFETY: libusb passes the completed transfer, which `Bulk` keeps allocated.
    let idle = unsafe { (*transfer).user_data }.cast::<AtomicBool>();
    // SAFETY: `start` has stored the address of the flag there, and `Bulk` frees the flag only when it is set.
    unsafe { &*idle }.store(true, Ordering::Release);
}

impl<const N: usize> Bulk<N> {
    fn new() -> Result<Bulk<N>> {
        // SAFETY: libusb_alloc_transfer() has no preconditions; 0 is the number of isochronous packets.
        let transfer = NonNull::new(unsafe { libusb_alloc_transfer(0) }).ok_or(Error::NoMem)?;
        let shared = Box::new(Shared { idle: AtomicBool::new(true), buffer: [0; N] });
        Ok(Bulk { transfer, shared: NonNull::from(Box::leak(shared)) })
    }

    fn idle(&self) -> &AtomicBool {
        // SAFETY: `Bulk` owns the memory, and the flag is only accessed as an atomic.
        unsafe { &(*self.shared.as_ptr()).idle }
    }

    fn is_idle(&self) -> bool {
        self.idle().load(Ordering::Acquire)
    }

    /// Returns the buffer of an idle transfer.
    fn buffer(&mut self) -> &mut [u8; N] {
        // SAFETY: libusb uses the buffer only while the transfer is in progress; `exchange` calls this while it is idle.
        unsafe { &mut (*self.shared.as_ptr()).buffer }
    }

    /// Submits a transfer of `count` bytes, at most `N`.
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
            callback: completed,
            user_data: (&raw const *self.idle()).cast_mut().cast(),
            buffer: self.buffer().as_mut_ptr(),
            num_iso_packets: 0,
            iso_packet_desc: [],
        };
        // SAFETY: `Bulk` owns the transfer, which is allocated and idle.
        unsafe { self.transfer.as_ptr().write(filled) };
        self.idle().store(false, Ordering::Release);
        // SAFETY: the transfer is filled, and `Bulk` keeps its buffer and its flag until it is idle again.
        let error = unsafe { libusb_submit_transfer(self.transfer.as_ptr()) };
        if error != 0 {
            self.idle().store(true, Ordering::Release);
            return Err(from_code(error));
        }
        Ok(())
    }

    /// Cancels the transfer, unless it is idle.
    fn cancel(&self) {
        if !self.is_idle() {
            // SAFETY: the transfer was submitted; for one that has just completed libusb returns an error, which is ignored.
            unsafe { libusb_cancel_transfer(self.transfer.as_ptr()) };
        }
    }

    /// Returns the result of an idle transfer: the number of bytes moved.
    fn outcome(&self) -> Result<usize> {
        // SAFETY: `Bulk` owns the transfer, and libusb does not use it while it is idle.
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
            // SAFETY: `Bulk` owns the transfer, which is idle; only this drop frees it.
            unsafe { libusb_free_transfer(self.transfer.as_ptr()) };
            // SAFETY: `new` has leaked it from a box, and libusb no longer uses it.
            drop(unsafe { Box::from_raw(self.shared.as_ptr()) });
        }
        // A transfer that is not idle leaks, because libusb may still write to its memory.
    }
}

/// One transfer out and one in, of up to `N` bytes.
pub(crate) struct Pair<const N: usize> {
    out: Bulk<N>,
    into: Bulk<N>,
    /// The addresses of the bulk endpoints, out and in.
    endpoints: [u8; 2],
    // The last field, so that it is closed after the transfers are freed.
    handle: DeviceHandle<Context>,
}

impl<const N: usize> Pair<N> {
    /// Allocates transfers for two bulk endpoints of a claimed interface.
    pub(crate) fn new(handle: DeviceHandle<Context>, endpoints: [u8; 2]) -> Result<Pair<N>> {
        Ok(Pair { out: Bulk::new()?, into: Bulk::new()?, endpoints, handle })
    }

    /// Returns the device, for other transfers.
    pub(crate) fn handle(&self) -> &DeviceHandle<Context> {
        &self.handle
    }

    /// Sends `out` and receives up to `into.len()` bytes at the same time. Returns the number of bytes received.
    /// `InvalidParam` for more than `N` bytes.
    pub(crate) fn exchange(&mut self, out: &[u8], into: &mut [u8], timeout: Duration) -> Result<usize> {
        self.out.buffer().get_mut(..out.len()).ok_or(Error::InvalidParam)?.copy_from_slice(out);
        let [to, from] = self.endpoints;
        self.out.start(&self.handle, to, out.len(), timeout)?;
        let started = self.into.start(&self.handle, from, into.len(), timeout);
        if started.is_err() {
            self.out.cancel();
        }
        self.wait_until_idle(timeout)?;
        started?;
        let (sent, count) = (self.out.outcome()?, self.into.outcome()?);
        let came = self.into.buffer().get(..count).ok_or(Error::Overflow)?;
        into.get_mut(..count).ok_or(Error::Overflow)?.copy_from_slice(came);
        self.out.buffer().zeroize();
        self.into.buffer().zeroize();
        if sent == out.len() { Ok(count) } else { Err(Error::Io) }
    }

    /// Waits until both transfers are complete. Cancels them after the time-out, and when the one out has failed, since then
    /// no bytes will arrive.
    fn wait_until_idle(&mut self, timeout: Duration) -> Result<()> {
        let begin = Instant::now();
        let (mut failures, mut cancelled) = (0, false);
        while !(self.out.is_idle() && self.into.is_idle()) {
            let give_up = failures > 0 || begin.elapsed() > timeout + COMPLETION_TIMEOUT;
            if !cancelled && (give_up || self.out.is_idle() && self.out.outcome().is_err()) {
                self.out.cancel();
                self.into.cancel();
                cancelled = true;
            }
            if failures > MAX_FAILURES || begin.elapsed() > timeout + 2 * COMPLETION_TIMEOUT {
                return Err(Error::Io);
            }
            let context = self.handle.context().as_raw();
            // SAFETY: the handle keeps the context alive, libusb reads the time-out during the call, and the flag may be
            // NULL.
            match unsafe { libusb_handle_events_timeout_completed(context, &EVENT_TIMEOUT, null_mut()) } {
                0 | LIBUSB_ERROR_INTERRUPTED => {}
                _ => failures += 1,
            }
        }
        Ok(())
    }
}

fn from_code(error: c_int) -> Error {
    match error {
        LIBUSB_ERROR_NO_DEVICE => Error::NoDevice,
        LIBUSB_ERROR_NO_MEM => Error::NoMem,
        LIBUSB_ERROR_BUSY => Error::Busy,
        _ => Error::Io,
    }
}
