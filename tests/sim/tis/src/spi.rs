// SPDX-License-Identifier: BSD-2-Clause
//! The bus: splits a transaction into header, wait states and data (PTP, SPI bit protocol).
#![forbid(unsafe_code)]

use crate::faults::{Death, Faults};
use crate::machine::Machine;
use crate::tpm::CommandProcessor;

/// An error of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusError;

/// The upper byte of the TPM's addresses on the bus.
const BASE: u8 = 0xd4;
const READ: u8 = 0x80;

/// The phases of a transaction.
enum Phase {
    Header(Vec<u8>),
    Wait { frame: Frame, left: u32 },
    Data(Frame),
    Over,
}

/// A header and the progress of its data.
#[derive(Clone, Copy)]
struct Frame {
    register: u16,
    reads: bool,
    size: usize,
    done: usize,
    /// The value of the register; `None` for the FIFO.
    answer: Option<[u8; 4]>,
}

/// A bus with a TPM.
pub struct Sim {
    machine: Machine,
    phase: Phase,
    selected: bool,
    /// Whether this transaction fails.
    fails: bool,
    /// The value of all bytes of this transaction, on a dead bus.
    dead: Option<u8>,
    transactions: u64,
    bytes: u64,
}

impl Sim {
    /// Makes a TPM whose locality is free.
    pub fn new(tpm: impl CommandProcessor + 'static, faults: Faults) -> Sim {
        Sim {
            machine: Machine::new(Box::new(tpm), faults),
            phase: Phase::Over,
            selected: false,
            fails: false,
            dead: None,
            transactions: 0,
            bytes: 0,
        }
    }

    /// Returns the faults from now on.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.machine.faults
    }

    /// Resets the TPM's interface, like a power cycle.
    pub fn reset(&mut self) {
        self.machine.reset();
    }

    /// Returns the number of transactions so far.
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Returns the number of bytes transferred so far, including headers and wait states.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns how often a fault took effect so far.
    pub fn strikes(&self) -> u64 {
        self.machine.strikes
    }

    /// Returns the driver's violations of the protocol.
    pub fn offences(&self) -> &[String] {
        &self.machine.offences
    }

    /// Whether the driver has claimed the locality.
    pub fn has_locality(&self) -> bool {
        self.machine.has_locality()
    }

    /// Whether the driver has requested the locality, and it is not granted yet.
    pub fn is_asked(&self) -> bool {
        self.machine.is_asked()
    }

    /// Whether no command is in progress and no response is waiting.
    pub fn is_at_rest(&self) -> bool {
        self.machine.is_at_rest()
    }

    /// Selects the TPM for a transaction of several transfers.
    pub fn select(&mut self) {
        if self.selected {
            self.machine.offences.push("selected twice".to_owned());
        }
        self.selected = true;
        self.begin();
    }

    /// Deselects the TPM, which ends the transaction.
    pub fn deselect(&mut self) {
        if !self.selected {
            self.machine.offences.push("deselected without a selection".to_owned());
        }
        self.selected = false;
        self.end();
    }

    /// Transfers `count` bytes: `out`, or zeroes, are written, and `into` gets what is read. Without a selection this
    /// is a whole transaction.
    pub fn transfer(&mut self, out: Option<&[u8]>, into: Option<&mut [u8]>, count: usize) -> Result<(), BusError> {
        if !self.selected {
            self.begin();
        }
        let answer: Vec<u8> =
            (0..count).map(|at| self.shift(out.and_then(|out| out.get(at)).copied().unwrap_or_default())).collect();
        if let Some(into) = into {
            into.iter_mut().zip(&answer).for_each(|(into, byte)| *into = *byte);
        }
        if !self.selected {
            self.end();
        }
        match self.fails {
            true => Err(BusError),
            false => Ok(()),
        }
    }

    fn begin(&mut self) {
        self.transactions += 1;
        self.phase = Phase::Header(Vec::new());
        let faults = &mut self.machine.faults;
        self.fails = faults.error_after == Some(0);
        faults.error_after = faults.error_after.and_then(|after| after.checked_sub(1));
        self.dead = faults.death.filter(|death| death.after == 0).map(|death| death.level);
        if let Some(Death { after, .. }) = &mut faults.death {
            *after = after.saturating_sub(1);
        }
        let strikes = self.fails || self.dead.is_some() || faults.wait_states > 0;
        self.machine.strikes += u64::from(strikes);
    }

    fn end(&mut self) {
        let cut = match core::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Header(_) | Phase::Wait { .. } => true,
            Phase::Data(frame) => frame.done < frame.size,
            Phase::Over => false,
        };
        // A driver may cut a transaction short when the wait states do not end.
        if cut && !self.fails && self.dead.is_none() && self.machine.faults.wait_states < 64 {
            self.machine.offences.push("a transaction that was cut short".to_owned());
        }
    }

    fn shift(&mut self, out: u8) -> u8 {
        self.bytes += 1;
        if let Some(level) = self.dead {
            return level;
        }
        if self.fails {
            return 0xff;
        }
        match core::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Header(header) => self.header(header, out),
            Phase::Wait { frame, left: 0 } => {
                self.phase = Phase::Data(frame);
                1
            }
            Phase::Wait { frame, left } => {
                self.phase = Phase::Wait { frame, left: left - 1 };
                0
            }
            Phase::Data(frame) => self.data(frame, out),
            Phase::Over => {
                self.machine.offences.push("more bytes than the header says".to_owned());
                0xff
            }
        }
    }

    fn header(&mut self, mut header: Vec<u8>, out: u8) -> u8 {
        header.push(out);
        let [direction, base, high, low] = *header else {
            self.phase = Phase::Header(header);
            return 0;
        };
        if base != BASE || direction & 0x40 != 0 {
            self.machine.offences.push(format!("a header {direction:#04x} {base:#04x}"));
        }
        let (register, reads) = (u16::from_be_bytes([high, low]), direction & READ != 0);
        let frame = Frame {
            register,
            reads,
            size: usize::from(direction & 0x3f) + 1,
            done: 0,
            answer: if reads { self.machine.begin_read(register) } else { None },
        };
        match self.machine.faults.wait_states.checked_sub(1) {
            Some(left) => {
                self.phase = Phase::Wait { frame, left };
                0
            }
            None => {
                self.phase = Phase::Data(frame);
                1
            }
        }
    }

    fn data(&mut self, mut frame: Frame, out: u8) -> u8 {
        if frame.done >= frame.size {
            self.machine.offences.push("more bytes than the header says".to_owned());
            return 0xff;
        }
        let byte = match (frame.reads, frame.answer) {
            (true, Some(answer)) => answer.get(frame.done).copied().unwrap_or(0xff),
            (true, None) => self.machine.read_fifo(),
            (false, _) => {
                self.machine.write(frame.register, frame.done, out);
                0xff
            }
        };
        frame.done += 1;
        self.phase = Phase::Data(frame);
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C modules write TPM_STS like this.
    #[test]
    fn a_status_write_of_four_bytes_is_allowed_when_the_others_are_zero() {
        let mut sim = Sim::new(|_, _: &[u8]| Vec::new(), Faults::default());
        sim.transfer(Some(&[0x00, BASE, 0x00, 0x00, 0x02]), None, 5).unwrap(); // requests the locality
        sim.transfer(Some(&[READ, BASE, 0x00, 0x00]), None, 5).unwrap(); // which is granted
        sim.transfer(Some(&[0x03, BASE, 0x00, 0x18, 0x40, 0, 0, 0]), None, 8).unwrap();
        assert_eq!(sim.offences(), &[] as &[String]);
        sim.transfer(Some(&[0x03, BASE, 0x00, 0x18, 0x40, 0, 1, 0]), None, 8).unwrap();
        assert_eq!(sim.offences().len(), 1);
    }
}
