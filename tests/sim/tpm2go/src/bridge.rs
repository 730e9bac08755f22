// SPDX-License-Identifier: BSD-2-Clause
//! The Cypress CY7C65211A as the stick's driver uses it: a length is announced, as many bytes are shifted out, and what
//! was shifted in waits in the IN endpoint, in packets, until it is read.
#![forbid(unsafe_code)]

use crate::descriptors::MAX_PACKET;
use crate::setup::Setup;
use sim_tis::Sim;
use std::collections::VecDeque;

/// bmRequestType: vendor, to the device. It says IN although there is no data.
const VENDOR_IN: u8 = 0xc0;
/// bRequest: a SPI transfer of wIndex bytes.
const SPI_TRANSFER: u8 = 0xca;
/// wValue: both directions at once.
const WRITE_AND_READ: u16 = 3;
/// Longest SPI transaction of a TPM: a header of 4 bytes and 64 bytes of data (PTP, SPI bit protocol).
const MAX_TRANSACTION: usize = 68;

/// A SPI transfer whose bytes have not all come.
struct Announced {
    wanted: usize,
    bytes: Vec<u8>,
}

pub(crate) struct Bridge {
    pub(crate) sim: Sim,
    announced: Option<Announced>,
    /// What the IN endpoint has to send; no packet is larger than the endpoint's.
    packets: VecDeque<Vec<u8>>,
    pub(crate) offences: Vec<String>,
}

impl Bridge {
    pub(crate) fn new(sim: Sim) -> Bridge {
        Bridge { sim, announced: None, packets: VecDeque::new(), offences: Vec::new() }
    }

    /// What SET_CONFIGURATION leaves.
    pub(crate) fn reset(&mut self) {
        self.announced = None;
        self.packets.clear();
    }

    /// A vendor request: whether the bridge understands it. One that comes before the bytes of another is the begin
    /// anew of a driver that was interrupted, and no offence.
    pub(crate) fn request(&mut self, setup: Setup) -> bool {
        let wanted = usize::from(setup.index);
        if (setup.kind, setup.request, setup.value) != (VENDOR_IN, SPI_TRANSFER, WRITE_AND_READ) || setup.length != 0 {
            self.offences.push(format!("a request that the bridge does not know: {setup:x?}"));
            return false;
        }
        if wanted == 0 || wanted > MAX_TRANSACTION {
            self.offences.push(format!("a SPI transfer of {wanted} bytes was announced"));
            return false;
        }
        self.announced = Some(Announced { wanted, bytes: Vec::new() });
        true
    }

    /// Bytes for the SPI bus. They are shifted when all that were announced have come.
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
        // The bridge does not see what the SPI bus is worth: without a TPM the line reads high.
        let _ = self.sim.transfer(Some(&announced.bytes), Some(&mut answer), announced.wanted);
        self.packets.extend(answer.chunks(usize::from(MAX_PACKET)).map(<[u8]>::to_vec));
    }

    /// How many packets a bulk IN of `len` bytes takes; `None` while it has to wait. `whole_packets` as in
    /// [`crate::Faults`].
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

    /// Takes so many packets for a bulk IN of `len` bytes; `None`: they hold more. What is left of the last one stays,
    /// unless it is a matter of `whole_packets`.
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

    /// Loses what the IN endpoint has.
    pub(crate) fn discard(&mut self) {
        self.packets.clear();
    }
}
