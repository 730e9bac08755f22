// SPDX-License-Identifier: BSD-2-Clause
//! A LetsTrust-TPM2Go as libusb has it: interface 0 with one endpoint out and one in, and the vendor request of its
//! bridge.
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
/// Vendor request to the device. It has no data, but is of those that read.
const REQUEST_TYPE: u8 = 0xc0;
/// CY_CMD_SPI, CY_SPI_WRITEREAD: so many bytes will be written and as many read.
const REQUEST: u8 = 0xca;
const WRITE_READ: u16 = 3;

/// A stick that is open, and perhaps another program's.
pub(crate) struct OpenStick {
    handle: DeviceHandle<Context>,
    serial: String,
}

impl OpenStick {
    /// Opens a stick and reads its serial number, which is empty when there is none.
    pub(crate) fn open(device: &Device<Context>, descriptor: &DeviceDescriptor) -> Result<OpenStick> {
        let handle = device.open()?;
        let serial = match descriptor.serial_number_string_index() {
            None => String::new(),
            Some(_) => handle.read_serial_number_string_ascii(descriptor)?,
        };
        Ok(OpenStick { handle, serial })
    }

    /// The serial number.
    pub(crate) fn serial(&self) -> &str {
        &self.serial
    }

    /// Makes it ours alone; `Busy` when it is another program's. A driver of the kernel is detached, until the end.
    pub(crate) fn claim(self) -> Result<UsbStick> {
        match self.handle.set_auto_detach_kernel_driver(true) {
            Ok(()) | Err(Error::NotSupported) => {}
            Err(error) => return Err(error),
        }
        self.handle.claim_interface(INTERFACE)?;
        Ok(UsbStick { pair: Pair::new(self.handle, [OUT, IN])?, serial: self.serial })
    }
}

/// A stick that is ours alone. Its end releases the interface.
pub struct UsbStick {
    pair: Pair<MAX_TRANSFER>,
    serial: String,
}

impl UsbStick {
    /// Ends the halt of an endpoint that refused a transfer (stall); the next one may go well.
    fn heal<T>(&self, result: Result<T>) -> Result<T> {
        if matches!(result, Err(Error::Pipe)) {
            for endpoint in [OUT, IN] {
                let _ = self.pair.handle().clear_halt(endpoint); // else the next transfer says so
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
        self.heal(exchanged)
    }

    fn read(&mut self, into: &mut [u8], timeout: Duration) -> Result<usize> {
        self.heal(self.pair.handle().read_bulk(IN, into, timeout))
    }

    /// It is until it is dropped.
    fn set_at_work(&mut self, _at_work: bool) -> bool {
        true
    }
}
