// SPDX-License-Identifier: BSD-2-Clause
//! A LetsTrust-TPM2Go accessed through libusb, [`UsbStick`]: interface 0 with one endpoint in each direction, and the vendor
//! request of its bridge.
#![deny(unsafe_code)]

mod sys;

use crate::bridge::{MAX_TRANSFER, Stick, TIMEOUT};
use rusb::{Context, Device, DeviceDescriptor, DeviceHandle, Error, Result};
use std::time::Duration;
use sys::Pair;

const INTERFACE: u8 = 0;
/// Bulk endpoints.
const OUT: u8 = 0x01;
const IN: u8 = 0x82;
/// A vendor request to the device, of the direction device to host, but without data.
const REQUEST_TYPE: u8 = 0xc0;
/// CY_CMD_SPI with CY_SPI_WRITEREAD: announces the number of bytes to be written and read.
const REQUEST: u8 = 0xca;
const WRITE_READ: u16 = 3;

/// An open stick, which another program may have claimed.
pub(crate) struct OpenStick {
    handle: DeviceHandle<Context>,
    serial: String,
}

impl OpenStick {
    /// Opens a stick and reads its serial number, which is empty if the stick has none.
    pub(crate) fn open(device: &Device<Context>, descriptor: &DeviceDescriptor) -> Result<OpenStick> {
        let handle = device.open()?;
        let serial = match descriptor.serial_number_string_index() {
            None => String::new(),
            Some(_) => handle.read_serial_number_string_ascii(descriptor)?,
        };
        Ok(OpenStick { handle, serial })
    }

    /// Returns the serial number.
    pub(crate) fn serial(&self) -> &str {
        &self.serial
    }

    /// Claims the stick; `Busy` when another program has claimed it. A kernel driver is detached until it is released.
    pub(crate) fn claim(self) -> Result<UsbStick> {
        match self.handle.set_auto_detach_kernel_driver(true) {
            Ok(()) | Err(Error::NotSupported) => {}
            Err(error) => return Err(error),
        }
        self.handle.claim_interface(INTERFACE)?;
        Ok(UsbStick { pair: Pair::new(self.handle, [OUT, IN])?, serial: self.serial })
    }
}

/// A claimed stick. Dropping it releases the interface.
pub struct UsbStick {
    pair: Pair<MAX_TRANSFER>,
    serial: String,
}

impl UsbStick {
    /// Clears the halt of both endpoints after a refused transfer (stall), so that the next one may succeed.
    fn clear_stall<T>(&self, result: Result<T>) -> Result<T> {
        if matches!(result, Err(Error::Pipe)) {
            for endpoint in [OUT, IN] {
                let _ = self.pair.handle().clear_halt(endpoint); // if this fails, the next transfer returns the error
            }
        }
        result
    }
}

impl Stick for UsbStick {
    fn serial(&self) -> &str {
        &self.serial
    }

    fn announce(&mut self, count: u16) -> Result<()> {
        self.pair.handle().read_control(REQUEST_TYPE, REQUEST, WRITE_READ, count, &mut [], TIMEOUT).map(drop)
    }

    fn exchange(&mut self, out: &[u8], into: &mut [u8]) -> Result<usize> {
        let exchanged = self.pair.exchange(out, into, TIMEOUT);
        self.clear_stall(exchanged)
    }

    fn read(&mut self, into: &mut [u8], timeout: Duration) -> Result<usize> {
        self.clear_stall(self.pair.handle().read_bulk(IN, into, timeout))
    }

    /// Always belongs to this context.
    fn set_at_work(&mut self, _at_work: bool) -> bool {
        true
    }
}
