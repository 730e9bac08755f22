// SPDX-License-Identifier: BSD-2-Clause
//! Register access, [`read`] and [`write`]. Each is one SPI transaction (PTP, SPI bit protocol): a header of four bytes,
//! wait states if the TPM needs any, then 1 to 64 bytes of data.

use crate::bus::{Bus, ChipSelect, Transfer};
use crate::registers::{Register, TIMEOUT_C};
use tcti_core::{Result, ReturnCode, fail};
use zeroize::Zeroize;

/// The size of a header in bytes.
pub const HEADER_SIZE: usize = 4;
/// The largest number of data bytes in a transaction.
pub const MAX_DATA: usize = 64;

/// Set in the first byte of the header for a read.
const READ: u8 = 0x80;
/// The upper byte of the TPM's 24-bit address; locality 0 is at the start of its range.
const BASE: u8 = 0xd4;
/// How many wait state bytes are read without a pause; from then on one per millisecond.
const WAIT_STATES_WITHOUT_PAUSE: u32 = 64;

/// Reads a register, 1 to 64 bytes.
pub(crate) fn read<B: Bus>(bus: &mut B, register: Register, data: &mut [u8]) -> Result<()> {
    let header = header(READ, register, data.len())?;
    match bus.chip_select() {
        ChipSelect::Held => held(bus, header, Transfer { out: None, into: Some(data), last: true }),
        ChipSelect::PerTransfer => {
            let out = Frame::new(header, data.len());
            let mut into = Frame::new([0; HEADER_SIZE], data.len());
            bus.transfer(Transfer { out: Some(out.bytes()), into: Some(into.bytes_mut()), last: true })?;
            data.copy_from_slice(into.data_mut());
            Ok(())
        }
    }
}

/// Writes a register, 1 to 64 bytes.
pub(crate) fn write<B: Bus>(bus: &mut B, register: Register, data: &[u8]) -> Result<()> {
    let header = header(0, register, data.len())?;
    match bus.chip_select() {
        ChipSelect::Held => held(bus, header, Transfer { out: Some(data), into: None, last: true }),
        ChipSelect::PerTransfer => {
            let mut out = Frame::new(header, data.len());
            out.data_mut().copy_from_slice(data);
            bus.transfer(Transfer { out: Some(out.bytes()), into: None, last: true })
        }
    }
}

fn header(direction: u8, register: Register, len: usize) -> Result<[u8; HEADER_SIZE]> {
    let size = u8::try_from(len).ok().filter(|_| (1..=MAX_DATA).contains(&len)).ok_or(ReturnCode::BAD_VALUE)?;
    let [high, low] = (register as u16).to_be_bytes();
    Ok([direction | (size - 1), BASE, high, low])
}

/// A transaction in one transfer, overwritten when dropped.
struct Frame {
    bytes: [u8; HEADER_SIZE + MAX_DATA],
    len: usize,
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl Frame {
    fn new(header: [u8; HEADER_SIZE], data: usize) -> Frame {
        let mut frame = Frame { bytes: [0; HEADER_SIZE + MAX_DATA], len: HEADER_SIZE + data };
        if let Some(start) = frame.bytes.first_chunk_mut() {
            *start = header;
        }
        frame
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(HEADER_SIZE..self.len).unwrap_or_default()
    }
}

/// Runs a transaction of several transfers, during which the TPM stays selected.
fn held<B: Bus>(bus: &mut B, header: [u8; HEADER_SIZE], data: Transfer<'_>) -> Result<()> {
    bus.select()?;
    let done = send_header(bus, header).and_then(|()| bus.transfer(data));
    let deselected = bus.deselect();
    done.and(deselected)
}

/// Sends the header and waits until the wait states end: with the first byte whose least significant bit is set. The byte
/// received with the last byte of the header counts too.
fn send_header<B: Bus>(bus: &mut B, header: [u8; HEADER_SIZE]) -> Result<()> {
    let mut answer = [0; HEADER_SIZE];
    bus.transfer(Transfer { out: Some(&header), into: Some(&mut answer), last: false })?;
    let [.., mut byte] = answer;
    let mut reads = 0;
    while byte & 1 == 0 {
        if reads >= WAIT_STATES_WITHOUT_PAUSE + TIMEOUT_C {
            return Err(fail!(
                ReturnCode::IO_ERROR,
                "the TPM does not end its wait state within {TIMEOUT_C} ms. Is there a TPM at this chip select, does \
                 it have power, and is the bus wired right?"
            ));
        }
        if reads >= WAIT_STATES_WITHOUT_PAUSE {
            bus.clock().sleep(1)?;
        }
        reads += 1;
        let mut answer = [0];
        bus.transfer(Transfer { out: Some(&[0]), into: Some(&mut answer), last: false })?;
        [byte] = answer;
    }
    Ok(())
}
