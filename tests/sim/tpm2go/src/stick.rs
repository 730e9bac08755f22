// SPDX-License-Identifier: BSD-2-Clause
//! The device: standard requests, the two bulk endpoints and their faults.
#![forbid(unsafe_code)]

use crate::bridge::Bridge;
use crate::counters::Counters;
use crate::descriptors::{CONFIGURATION_VALUE, descriptor};
use crate::faults::{Fault, Faults};
use crate::setup::Setup;
use sim_tis::Sim;

/// The address of the bulk endpoint for bytes that go to the SPI bus.
pub const ENDPOINT_OUT: u8 = 0x01;
/// The address of the bulk endpoint for bytes that come from the SPI bus.
pub const ENDPOINT_IN: u8 = 0x82;
/// The address of the interrupt endpoint, which never sends anything.
const ENDPOINT_INTERRUPT: u8 = 0x83;

/// The device's reply to a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The transfer succeeds, with the bytes of an IN, and without bytes for an OUT.
    Data(Vec<u8>),
    /// The transfer ends with STALL (libusb: `LIBUSB_ERROR_PIPE`).
    Stall,
    /// The transfer ends with more bytes than requested (libusb: `LIBUSB_ERROR_OVERFLOW`).
    Overflow,
    /// No data is available yet, and nothing was counted: the host tries again after the next OUT.
    Nak,
    /// The device never replies: the host tries until it gives up.
    Silence,
    /// The device is unplugged (libusb: `LIBUSB_ERROR_NO_DEVICE`).
    Gone,
}

/// A LetsTrust-TPM2Go as a host controller sees it.
pub struct Stick {
    serial: String,
    bridge: Bridge,
    faults: Faults,
    /// How often a fault of the USB took effect.
    strikes: u64,
    counters: Counters,
    /// The transactions and bytes of the SPI bus at the last [`Stick::reset_counters`].
    before: (u64, u64),
    configuration: u8,
    out_halted: bool,
    in_halted: bool,
    gone: bool,
}

/// Standard requests (USB 2.0 specification, table 9-4).
const GET_STATUS: u8 = 0;
const CLEAR_FEATURE: u8 = 1;
const SET_FEATURE: u8 = 3;
const SET_ADDRESS: u8 = 5;
const GET_DESCRIPTOR: u8 = 6;
const GET_CONFIGURATION: u8 = 8;
const SET_CONFIGURATION: u8 = 9;
const GET_INTERFACE: u8 = 10;
const SET_INTERFACE: u8 = 11;

/// bmRequestType of standard requests: direction and recipient.
const TO_DEVICE: u8 = 0x00;
const TO_INTERFACE: u8 = 0x01;
const TO_ENDPOINT: u8 = 0x02;
const FROM_DEVICE: u8 = 0x80;
const FROM_INTERFACE: u8 = 0x81;
const FROM_ENDPOINT: u8 = 0x82;

/// wValue of CLEAR_FEATURE and SET_FEATURE for an endpoint.
const ENDPOINT_HALT: u16 = 0;

impl Stick {
    /// Makes a stick that is plugged in, with `tpm` on its SPI bus.
    pub fn new(serial: &str, tpm: impl sim_tis::CommandProcessor + 'static, faults: Faults) -> Stick {
        Stick {
            serial: serial.to_owned(),
            bridge: Bridge::new(Sim::new(tpm, sim_tis::Faults::default())),
            faults,
            strikes: 0,
            counters: Counters::default(),
            before: (0, 0),
            configuration: 0,
            out_halted: false,
            in_halted: false,
            gone: false,
        }
    }

    /// Handles a control transfer with this setup stage. [`Reply::Data`] is the data stage of an IN, of at most
    /// wLength bytes.
    pub fn control(&mut self, setup: [u8; 8]) -> Reply {
        let setup = Setup::new(setup);
        if self.gone {
            return Reply::Gone;
        }
        if setup.is_standard() {
            self.counters.standard += 1;
            return match self.standard(setup) {
                Some(mut data) => {
                    data.truncate(usize::from(setup.length));
                    Reply::Data(data)
                }
                None => Reply::Stall,
            };
        }
        if self.unplugs() {
            return Reply::Gone;
        }
        let fault = self.faults.of_control();
        self.strikes += u64::from(fault.is_some());
        if fault == Some(Fault::Silence) {
            return Reply::Silence;
        }
        self.counters.control += 1;
        match fault.is_none() && self.bridge.request(setup) {
            true => Reply::Data(Vec::new()),
            false => Reply::Stall,
        }
    }

    /// Handles a bulk OUT transfer of any length. `endpoint` is an address such as [`ENDPOINT_OUT`].
    pub fn bulk_out(&mut self, endpoint: u8, data: &[u8]) -> Reply {
        if self.gone {
            return Reply::Gone;
        }
        if endpoint != ENDPOINT_OUT || self.out_halted {
            return Reply::Stall;
        }
        if self.unplugs() {
            return Reply::Gone;
        }
        let fault = self.faults.of_out();
        self.strikes += u64::from(fault.is_some());
        if fault == Some(Fault::Silence) {
            return Reply::Silence;
        }
        self.counters.bulk_out += 1;
        if fault.is_some() {
            self.out_halted = fault == Some(Fault::Halt);
            return Reply::Stall;
        }
        // The TPM's interface counts down its faults, which belong to this stick.
        core::mem::swap(&mut self.faults.tis, self.bridge.sim.faults());
        self.bridge.shift(data);
        core::mem::swap(&mut self.faults.tis, self.bridge.sim.faults());
        Reply::Data(Vec::new())
    }

    /// Handles a bulk IN transfer of at most `len` bytes. `endpoint` is an address such as [`ENDPOINT_IN`]. Faults
    /// take effect when data is available; until then the reply is [`Reply::Nak`].
    pub fn bulk_in(&mut self, endpoint: u8, len: usize) -> Reply {
        match endpoint {
            _ if self.gone => return Reply::Gone,
            ENDPOINT_IN if self.in_halted => return Reply::Stall,
            ENDPOINT_IN => {}
            ENDPOINT_INTERRUPT => return Reply::Nak,
            _ => return Reply::Stall,
        }
        let Some(packets) = self.bridge.ready(len, self.faults.whole_packets) else { return Reply::Nak };
        if self.unplugs() {
            return Reply::Gone;
        }
        let fault = self.faults.of_in();
        self.strikes += u64::from(fault.is_some());
        let reply = match fault {
            Some(Fault::Silence) => Reply::Silence,
            Some(Fault::Stall) => Reply::Stall,
            Some(Fault::Halt) => {
                self.in_halted = true;
                Reply::Stall
            }
            Some(Fault::Empty) => Reply::Data(Vec::new()),
            Some(Fault::Long) => {
                self.bridge.discard();
                Reply::Overflow
            }
            Some(Fault::Short | Fault::Garbage) | None => {
                let data = self.bridge.take(packets, len, self.faults.whole_packets);
                data.map_or(Reply::Overflow, |data| Reply::Data(corrupted(data, fault)))
            }
        };
        if reply != Reply::Silence {
            self.counters.bulk_in += 1;
        }
        reply
    }

    /// Returns the data of a standard request's IN stage; `None` is a STALL.
    fn standard(&mut self, setup: Setup) -> Option<Vec<u8>> {
        let [_, endpoint] = setup.index.to_be_bytes();
        match (setup.kind, setup.request) {
            (FROM_DEVICE, GET_DESCRIPTOR) => descriptor(setup.value, &self.serial),
            (FROM_DEVICE | FROM_INTERFACE, GET_STATUS) => Some(vec![0, 0]),
            (FROM_ENDPOINT, GET_STATUS) => Some(vec![u8::from(*self.halt(endpoint)?), 0]),
            (FROM_DEVICE, GET_CONFIGURATION) => Some(vec![self.configuration]),
            (FROM_INTERFACE, GET_INTERFACE) if setup.index == 0 => Some(vec![0]),
            // The host controller handles addresses.
            (TO_DEVICE, SET_ADDRESS) => Some(Vec::new()),
            (TO_DEVICE, SET_CONFIGURATION) if setup.value <= u16::from(CONFIGURATION_VALUE) => {
                [_, self.configuration] = setup.value.to_be_bytes();
                self.reset();
                Some(Vec::new())
            }
            (TO_INTERFACE, SET_INTERFACE) if (setup.index, setup.value) == (0, 0) => {
                (self.out_halted, self.in_halted) = (false, false);
                Some(Vec::new())
            }
            (TO_ENDPOINT, CLEAR_FEATURE | SET_FEATURE) if setup.value == ENDPOINT_HALT => {
                *self.halt(endpoint)? = setup.request == SET_FEATURE;
                Some(Vec::new())
            }
            _ => None,
        }
    }

    fn halt(&mut self, endpoint: u8) -> Option<&mut bool> {
        match endpoint {
            ENDPOINT_OUT => Some(&mut self.out_halted),
            ENDPOINT_IN => Some(&mut self.in_halted),
            _ => None,
        }
    }

    fn reset(&mut self) {
        self.bridge.reset();
        (self.out_halted, self.in_halted) = (false, false);
    }

    fn unplugs(&mut self) -> bool {
        self.gone = self.faults.unplugs();
        self.strikes += u64::from(self.gone);
        self.gone
    }

    /// Unplugs the stick.
    pub fn unplug(&mut self) {
        self.gone = true;
    }

    /// Plugs the stick in again: the bridge and the TPM's interface are reset. The TPM behind them is not.
    pub fn plug(&mut self) {
        self.gone = false;
        self.configuration = 0;
        self.reset();
        self.bridge.sim.reset();
    }

    /// Whether the stick is plugged in.
    pub fn is_plugged(&self) -> bool {
        !self.gone
    }

    /// Returns the serial number.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Returns the transfers since the stick was made or the counters were reset.
    pub fn counters(&self) -> Counters {
        let (spi, bytes) = self.before;
        Counters { spi: self.bridge.sim.transactions() - spi, bytes: self.bridge.sim.bytes() - bytes, ..self.counters }
    }

    /// Resets the counters.
    pub fn reset_counters(&mut self) {
        self.counters = Counters::default();
        self.before = (self.bridge.sim.transactions(), self.bridge.sim.bytes());
    }

    /// Returns the faults from now on.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// Returns how often a fault took effect since the stick was made.
    pub fn strikes(&self) -> u64 {
        self.strikes + self.bridge.sim.strikes()
    }

    /// Returns the driver's violations of the protocol, first those towards the bridge, then those towards the TPM.
    pub fn offences(&self) -> Vec<String> {
        [&self.bridge.offences, self.bridge.sim.offences()].concat()
    }

    /// Whether the driver has claimed locality 0.
    pub fn has_locality(&self) -> bool {
        self.bridge.sim.has_locality()
    }

    /// Whether no command is in progress in the TPM and no response is waiting.
    pub fn is_at_rest(&self) -> bool {
        self.bridge.sim.is_at_rest()
    }
}

/// Applies a fault to data.
fn corrupted(mut data: Vec<u8>, fault: Option<Fault>) -> Vec<u8> {
    match fault {
        Some(Fault::Short) => {
            data.pop();
        }
        Some(Fault::Garbage) => data.iter_mut().for_each(|byte| *byte = !*byte),
        _ => {}
    }
    data
}

#[cfg(test)]
mod tests;
