// SPDX-License-Identifier: BSD-2-Clause
//! Bytes through the FIFO: never more than the burst count allows, never beyond the end, and no status read that is not
//! needed.

use crate::bus::Bus;
use crate::clock::Backoff;
use crate::frame::{self, MAX_DATA};
use crate::registers::{Register, Status, TIMEOUT_A};
use crate::tis::Tis;
use std::time::{Duration, Instant};
use tcti_core::{Progress, Result, ReturnCode, RxBuf, Wait, fail};

/// How long a response that has begun does not go on. It may be the clock of a program that stands still, and a caller
/// who never waits has nothing slept.
#[derive(Default)]
pub(crate) struct Stall {
    /// When it was first seen.
    since: Option<Instant>,
    /// Milliseconds slept.
    slept: u32,
}

impl Stall {
    /// Whether it has lasted as long as a TPM may take.
    fn is_over(&mut self) -> bool {
        let since = self.since.get_or_insert_with(Instant::now);
        self.slept >= TIMEOUT_A || since.elapsed() >= Duration::from_millis(TIMEOUT_A.into())
    }
}

impl<B: Bus> Tis<B> {
    /// Writes a command. `status` is that of the ready TPM.
    pub(crate) fn write_command(&mut self, command: &[u8], status: Status) -> Result<()> {
        let mut room = status.burst_count();
        let mut rest = command;
        while !rest.is_empty() {
            if room == 0 {
                room = self.room(command.len() - rest.len(), command.len())?;
            }
            let (now, later) = rest.split_at(rest.len().min(room).min(MAX_DATA));
            frame::write(&mut self.bus, Register::Fifo, now)?;
            room -= now.len();
            rest = later;
        }
        Ok(())
    }

    /// Waits until the TPM takes more of a command; gives how many bytes it takes.
    fn room(&mut self, written: usize, size: usize) -> Result<usize> {
        let mut patience = Backoff::new(Wait::Millis(TIMEOUT_A));
        loop {
            let status = self.status()?;
            if written > 0 && status.is_valid() && !status.expects_more() {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM wants no more than {written} bytes of a command of {size}. Commands may be too long for it"
                ));
            }
            if status.burst_count() > 0 {
                return Ok(status.burst_count());
            }
            if patience.pause(self.bus.clock())?.is_none() {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM took {written} bytes of a command of {size} and no more within {TIMEOUT_A} ms"
                ));
            }
        }
    }

    /// Reads what there is of the response: its header, then exactly as many bytes as that says. It is believed when
    /// the TPM then says that there is no more: what a line that died meanwhile reads is no response. A response that
    /// has begun must go on; before that the caller alone says how long to wait.
    pub(crate) fn read_response(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let mut patience = Backoff::new(wait);
        loop {
            let missing = rx.missing()?;
            let status = self.status()?;
            if missing == 0 && status.has_data() {
                return Err(fail!(
                    ReturnCode::MALFORMED_RESPONSE,
                    "the response goes on after the {} bytes it says",
                    rx.len()
                ));
            }
            let begun = status.has_data() || !rx.is_empty();
            if begun && status.is_valid() && !status.has_data() {
                return Ok(Progress::Complete); // if it broke off, the session says so
            }
            if status.expects_more() {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM waits for more of a command that was sent whole; bytes were lost"
                ));
            }
            let burst = if status.has_data() { status.burst_count() } else { 0 };
            if burst > 0 {
                self.read_burst(rx, burst)?;
                self.stall = Stall::default();
                patience.hurry();
                continue;
            }
            if begun && self.stall.is_over() {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM stopped after {} bytes of its response, for {TIMEOUT_A} ms",
                    rx.len()
                ));
            }
            let Some(slept) = patience.pause(self.bus.clock())? else { return Ok(Progress::Pending) };
            if begun {
                self.stall.slept += slept;
            }
        }
    }

    /// Reads up to `burst` bytes, and none beyond the response.
    fn read_burst(&mut self, rx: &mut RxBuf, mut burst: usize) -> Result<()> {
        while burst > 0 {
            let count = rx.missing()?.min(burst).min(MAX_DATA);
            if count == 0 {
                break;
            }
            rx.read_with(|room| {
                let room = room.get_mut(..count).unwrap_or_default();
                frame::read(&mut self.bus, Register::Fifo, room).map(|()| count)
            })??;
            burst -= count;
        }
        Ok(())
    }
}
