// SPDX-License-Identifier: BSD-2-Clause
//! The registers of locality 0 and its state machine (PTP, state diagram of the FIFO interface).
#![forbid(unsafe_code)]

use crate::faults::Faults;
use crate::tpm::CommandProcessor;

const ACCESS: u16 = 0x000;
const STS: u16 = 0x018;
const DATA_FIFO: u16 = 0x024;
const DID_VID: u16 = 0xf00;
const RID: u16 = 0xf04;

/// Bits of TPM_ACCESS.
const ACCESS_VALID: u8 = 0x80;
const ACTIVE_LOCALITY: u8 = 0x20;
const REQUEST_USE: u8 = 0x02;

/// Bits of TPM_STS.
const STS_VALID: u32 = 0x80;
const COMMAND_READY: u32 = 0x40;
const GO: u32 = 0x20;
const DATA_AVAIL: u32 = 0x10;
const EXPECT: u32 = 0x08;
/// The value of tpmFamily for TPM 2.0.
const FAMILY_2_0: u32 = 1 << 26;

/// Device and vendor ID: an unassigned device of vendor 0x1014.
const DEVICE_AND_VENDOR: u32 = 0x0001_1014;
const REVISION: u8 = 0x01;

/// The states of a command.
enum State {
    Idle,
    /// commandReady was written; the TPM is ready after this number of status reads.
    Preparing(u32),
    Ready,
    Reception(Vec<u8>),
    /// The response, once the TPM has it, and the number of status reads until it is available.
    Execution(Option<Vec<u8>>, u32),
    Completion {
        response: Vec<u8>,
        read: usize,
    },
}

/// The state of the locality.
enum Locality {
    Free,
    /// Requested; granted after this number of reads of the access register.
    Requested(u32),
    Ours,
}

pub(crate) struct Machine {
    pub(crate) faults: Faults,
    tpm: Box<dyn CommandProcessor>,
    state: State,
    locality: Locality,
    statuses: u32,
    /// The number of bytes that the driver may transfer through the FIFO before it reads the status again.
    allowance: usize,
    lost: u32,
    /// How often a fault took effect.
    pub(crate) strikes: u64,
    /// The driver's violations of the protocol.
    pub(crate) offences: Vec<String>,
}

impl Machine {
    pub(crate) fn new(tpm: Box<dyn CommandProcessor>, faults: Faults) -> Machine {
        Machine {
            faults,
            tpm,
            state: State::Idle,
            locality: Locality::Free,
            statuses: 0,
            allowance: 0,
            lost: 0,
            strikes: 0,
            offences: Vec::new(),
        }
    }

    /// Resets the interface.
    pub(crate) fn reset(&mut self) {
        self.state = State::Idle;
        self.locality = Locality::Free;
    }

    pub(crate) fn has_locality(&self) -> bool {
        matches!(self.locality, Locality::Ours)
    }

    pub(crate) fn is_asked(&self) -> bool {
        matches!(self.locality, Locality::Requested(_))
    }

    /// Whether no command is in progress and no response is waiting.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.state, State::Idle | State::Preparing(_) | State::Ready)
    }

    fn offend(&mut self, what: String) {
        self.offences.push(what);
    }

    /// Begins a read of `register` after its header. Returns the bytes that are read, or `None` for the FIFO, which is
    /// read byte by byte.
    pub(crate) fn begin_read(&mut self, register: u16) -> Option<[u8; 4]> {
        match register {
            ACCESS => Some([self.access(), 0xff, 0xff, 0xff]),
            STS if !self.has_locality() => Some([0xff; 4]),
            STS => Some(self.status().to_le_bytes()),
            DATA_FIFO => None,
            DID_VID => Some(DEVICE_AND_VENDOR.to_le_bytes()),
            RID => Some([REVISION, 0xff, 0xff, 0xff]),
            _ => {
                self.offend(format!("read of register {register:#x}"));
                Some([0xff; 4])
            }
        }
    }

    fn access(&mut self) -> u8 {
        match &mut self.locality {
            Locality::Free => ACCESS_VALID,
            Locality::Requested(0) => {
                self.locality = Locality::Ours;
                ACCESS_VALID | ACTIVE_LOCALITY
            }
            Locality::Requested(reads) => {
                *reads -= 1;
                ACCESS_VALID | REQUEST_USE
            }
            Locality::Ours => ACCESS_VALID | ACTIVE_LOCALITY,
        }
    }

    fn status(&mut self) -> u32 {
        self.statuses += 1;
        self.advance();
        let every = self.faults.burst_zero_every;
        let zero = every > 0 && self.statuses % every == 0;
        let mut burst = if zero { 0 } else { usize::from(self.faults.burst) };
        let mut strikes = zero || self.faults.burst != Faults::default().burst || self.faults.garbage.is_some();
        let flags = match &self.state {
            State::Idle | State::Preparing(_) => 0,
            State::Ready => STS_VALID | COMMAND_READY,
            State::Reception(command) if is_whole(command) => STS_VALID,
            State::Reception(_) => STS_VALID | EXPECT,
            State::Execution(..) => {
                burst = 0;
                0
            }
            State::Completion { response, read } => {
                let stalled = self.faults.stall_at.is_some_and(|at| *read >= at);
                if stalled {
                    burst = 0;
                }
                let cut = self.faults.cut_at.is_some_and(|at| *read >= at);
                let end = self.faults.cut_at.or(self.faults.stall_at).unwrap_or(usize::MAX);
                burst = burst.min(end.saturating_sub(*read));
                strikes |= stalled || cut;
                let empty = cut || *read >= response.len();
                if empty { STS_VALID } else { STS_VALID | DATA_AVAIL }
            }
        };
        self.strikes += u64::from(strikes);
        if let Some(garbage) = self.faults.garbage {
            return garbage;
        }
        self.allowance = match &self.state {
            State::Reception(command) if is_whole(command) => 0, // Expect is clear
            _ => burst,
        };
        let burst = u32::try_from(burst).unwrap_or(0xffff);
        FAMILY_2_0 | burst << 8 | flags
    }

    /// Advances time by one status read.
    fn advance(&mut self) {
        match &mut self.state {
            State::Preparing(0) => self.state = State::Ready,
            State::Execution(response, 0) => {
                if let Some(response) = response.take().or_else(|| self.tpm.response()) {
                    self.state = State::Completion { response, read: 0 };
                }
            }
            State::Preparing(statuses) | State::Execution(_, statuses) => *statuses -= 1,
            State::Idle | State::Ready | State::Reception(_) | State::Completion { .. } => {}
        }
    }

    /// Reads the next byte of a response.
    pub(crate) fn read_fifo(&mut self) -> u8 {
        if self.allowance == 0 {
            self.offend("FIFO read beyond the burst count".to_owned());
        }
        self.allowance = self.allowance.saturating_sub(1);
        let byte = match &mut self.state {
            State::Completion { response, read } => {
                let byte = response.get(*read).copied();
                *read += 1;
                byte
            }
            _ => None,
        };
        byte.unwrap_or_else(|| {
            self.offend("FIFO read beyond the response".to_owned());
            0xff
        })
    }

    /// Writes the next byte to `register`, after `earlier` ones in this transaction.
    pub(crate) fn write(&mut self, register: u16, earlier: usize, byte: u8) {
        match register {
            // TPM_STS has four bytes. The others are the read-only burst count, and requests, which 0 does not make.
            STS if (1..4).contains(&earlier) && byte == 0 => {}
            ACCESS => self.write_access(byte),
            STS | DATA_FIFO if !self.has_locality() => self.offend(format!("write to {register:#x} without locality")),
            STS => self.write_status(byte),
            DATA_FIFO => self.write_fifo(byte),
            _ => self.offend(format!("write to register {register:#x}")),
        }
    }

    fn write_access(&mut self, byte: u8) {
        match byte {
            REQUEST_USE if !self.has_locality() => {
                self.strikes += u64::from(self.faults.claim_after > 0);
                self.locality = Locality::Requested(self.faults.claim_after);
            }
            ACTIVE_LOCALITY => self.locality = Locality::Free,
            _ => self.offend(format!("{byte:#04x} written to the access register")),
        }
    }

    fn write_status(&mut self, byte: u8) {
        match (u32::from(byte), &mut self.state) {
            (COMMAND_READY, State::Ready | State::Preparing(_)) => {}
            (COMMAND_READY, State::Completion { .. }) if self.faults.through_idle => {
                self.strikes += 1;
                self.state = State::Idle;
            }
            (COMMAND_READY, _) => {
                self.strikes += u64::from(self.faults.ready_after > 0);
                self.state = match self.faults.ready_after {
                    0 => State::Ready,
                    statuses => State::Preparing(statuses),
                };
            }
            (GO, State::Reception(command)) if is_whole(command) => {
                let command = core::mem::take(command);
                self.strikes += u64::from(self.faults.data_after > 0);
                self.state = match (self.tpm.begin(0, &command), self.faults.data_after) {
                    (Some(response), 0) => State::Completion { response, read: 0 },
                    (response, statuses) => State::Execution(response, statuses),
                };
            }
            // A TPM does not start a command that is incomplete.
            (GO, State::Reception(_)) => {}
            _ => self.offend(format!("{byte:#04x} written to the status register out of turn")),
        }
    }

    fn write_fifo(&mut self, byte: u8) {
        if self.allowance == 0 {
            self.offend("FIFO write beyond the burst count".to_owned());
        }
        self.allowance = self.allowance.saturating_sub(1);
        if matches!(self.state, State::Ready) {
            self.lost = self.faults.lose;
            self.strikes += u64::from(self.lost > 0);
            self.state = State::Reception(Vec::new());
        }
        match &mut self.state {
            State::Reception(_) if self.lost > 0 => self.lost -= 1,
            State::Reception(command) if !is_whole(command) => command.push(byte),
            // The rest of a command that lost bytes may contain any size, which the driver learns from the next
            // status.
            State::Reception(_) if self.faults.lose > 0 => {}
            State::Reception(_) => self.offend("FIFO write beyond the command".to_owned()),
            _ => self.offend("FIFO write to a TPM that is not ready".to_owned()),
        }
    }
}

/// Whether a command is as long as its header says (TPM 2.0 Library Part 1, section 18.2).
fn is_whole(command: &[u8]) -> bool {
    let size = command.get(2..6).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes);
    size.is_some_and(|size| u32::try_from(command.len()).is_ok_and(|len| len >= size.max(10)))
}
