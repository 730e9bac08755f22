// SPDX-License-Identifier: BSD-2-Clause
//! The Cypress CY7C65211A as the stick's driver uses it: the driver announces a length, sends as many bytes for the
//! SPI bus, and reads the same number of bytes from the IN endpoint, where they wait in packets.
#![forbid(unsafe_code)]

use crate::descriptors::MAX_PACKET;
use crate::setup::Setup;
use sim_tis::Sim;
use std::collections::VecDeque;

/// bmRequestType: vendor, device. The direction is IN although no data follows.
const VENDOR_IN: u8 = 0xc0;
/// bRequest of an SPI transfer of wIndex bytes.
const SPI_TRANSFER: u8 = 0xca;
/// wValue for both directions at once.
const WRITE_AND_READ: u16 = 3;
/// The longest SPI transaction of a TPM: a header of 4 bytes and 64 bytes of data (PTP, SPI bit protocol).
const MAX_TRANSACTION: usize = 68;

/// An SPI transfer for which bytes are still missing.
struct Announced {
    wanted: usize,
    bytes: Vec<u8>,
}

pub(crate) struct Bridge {
    pub(crate) sim: Sim,
    announced: Option<Announced>,
    /// The packets of the IN endpoint, none of which is larger than the endpoint's maximum.
    packets: VecDeque<Vec<u8>>,
    pub(crate) offences: Vec<String>,
}

impl Bridge {
    pub(crate) fn new(sim: Sim) -> Bridge {
        Bridge { sim, announced: None, packets: VecDeque::new(), offences: Vec::new() }
    }

    /// Resets the bridge, as SET_CONFIGURATION does.
    pub(crate) fn reset(&mut self) {
        self.announced = None;
        self.packets.clear();
    }

    /// Handles a vendor request. Returns whether the bridge supports it. A request before the bytes of the last one
    /// have arrived is allowed: the driver was interrupted and starts again.
    pub(crate) fn request(&mut self, setup: Setup) -> bool {
        let wanted = usize::from(setup.index);
        if (setup.kind, setup.request, setup.value) != (VENDOR_IN, SPI_TRANSFER, WRITE_AND_READ) || setup.length != 0 {
            self.offences.push(format!("an unknown request: {setup:x?}"));
            return false;
        }
        if wanted == 0 || wanted > MAX_TRANSACTION {
            self.offences.push(format!("an SPI transfer of {wanted} bytes was announced"));
            return false;
        }
        self.announced = Some(Announced { wanted, bytes: Vec::new() });
        true
    }

    /// Takes bytes for the SPI bus, which are transferred when the announced number has arrived.
    pub(crate) fn shift(&mut self, data: &[u8]) {
        let Some(mut announced) = self.announced.take() else {
            self.offences.push(format!("{} bytes of bulk OUT without an announced length", data.len()));
            return;
        };
        announced.bytes.extend_from_slice(data);
        if announced.bytes.len() < announced.wanted {
            self.announced = Some(announced);
            return;
        }
        if announced.bytes.len() > announced.wanted {
            let (sent, wanted) = (announced.bytes.len(), announced.wanted);
            self.offences.push(format!("{sent} bytes of bulk OUT where {wanted} were announced"));
        }
        let mut answer = vec![0xff; announced.wanted];
        // The bridge does not detect errors of the SPI bus: without a TPM the line reads high.
        let _ = self.sim.transfer(Some(&announced.bytes), Some(&mut answer), announced.wanted);
        self.packets.extend(answer.chunks(usize::from(MAX_PACKET)).map(<[u8]>::to_vec));
    }

    /// Returns how many packets a bulk IN of `len` bytes takes, or `None` while it has to wait. `whole_packets` is
    /// that of [`crate::Faults`].
    pub(crate) fn ready(&self, len: usize, whole_packets: bool) -> Option<usize> {
        let mut bytes = 0;
        for (at, packet) in self.packets.iter().enumerate() {
            bytes += packet.len();
            if bytes >= len || packet.len() < usize::from(MAX_PACKET) {
                return Some(at + 1);
            }
        }
        (!whole_packets && !self.packets.is_empty()).then_some(self.packets.len())
    }

    /// Takes packets for a bulk IN of `len` bytes. If they contain more, the rest of the last one stays, or with
    /// `whole_packets` the result is `None`.
    pub(crate) fn take(&mut self, packets: usize, len: usize, whole_packets: bool) -> Option<Vec<u8>> {
        let mut data: Vec<u8> = self.packets.drain(..packets.min(self.packets.len())).flatten().collect();
        if data.len() > len {
            if whole_packets {
                return None;
            }
            self.packets.push_front(data.split_off(len));
        }
        Some(data)
    }

    /// Drops the packets of the IN endpoint.
    pub(crate) fn discard(&mut self) {
        self.packets.clear();
    }
}
