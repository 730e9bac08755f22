// SPDX-License-Identifier: BSD-2-Clause
//! Transfers through the FIFO: never more bytes than the burst count allows, never beyond the end of a message, and with as
//! few status reads as possible.

use crate::bus::Bus;
use crate::clock::Backoff;
use crate::frame::{self, MAX_DATA};
use crate::registers::{Register, Status, TIMEOUT_A};
use crate::tis::Tis;
use std::time::{Duration, Instant};
use tcti_core::{Progress, Result, ReturnCode, RxBuf, Wait, fail};

/// Measures how long a response that has begun makes no progress. It uses the system's clock and counts sleeps: the clock of
/// a program may stand still, and a caller with a time-out of 0 never sleeps.
#[derive(Default)]
pub(crate) struct StallTimer {
    /// The first call of `has_expired`.
    since: Option<Instant>,
    /// Milliseconds slept.
    slept: u32,
}

impl StallTimer {
    /// Returns whether the response has stalled for TIMEOUT_A.
    fn has_expired(&mut self) -> bool {
        let since = self.since.get_or_insert_with(Instant::now);
        self.slept >= TIMEOUT_A || since.elapsed() >= Duration::from_millis(TIMEOUT_A.into())
    }
}

impl<B: Bus> Tis<B> {
    /// Writes a command. `status` is the last one, in which the TPM was ready.
    pub(crate) fn write_command(&mut self, command: &[u8], status: Status) -> Result<()> {
        let mut burst = status.burst_count();
        let mut rest = command;
        while !rest.is_empty() {
            if burst == 0 {
                burst = self.wait_for_burst(command.len() - rest.len(), command.len())?;
            }
            let (now, later) = rest.split_at(rest.len().min(burst).min(MAX_DATA));
            frame::write(&mut self.bus, Register::Fifo, now)?;
            burst -= now.len();
            rest = later;
        }
        Ok(())
    }

    /// Waits until the TPM accepts more of a command; returns the burst count in bytes.
    fn wait_for_burst(&mut self, written: usize, size: usize) -> Result<usize> {
        let mut backoff = Backoff::new(Wait::Millis(TIMEOUT_A));
        loop {
            let status = self.status()?;
            if written > 0 && status.is_valid() && !status.expects_more() {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM accepts only {written} bytes of a command of {size}. The command may be too long for it"
                ));
            }
            if status.burst_count() > 0 {
                return Ok(status.burst_count());
            }
            if backoff.pause(self.bus.clock())?.is_none() {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM took {written} bytes of a command of {size} and no more within {TIMEOUT_A} ms"
                ));
            }
        }
    }

    /// Reads what has arrived of the response: its header, then exactly as many bytes as the header says. It is complete
    /// only when the TPM then reports no more data, which a bus that has failed meanwhile does not. A response that has
    /// begun must not stall; before that only the caller limits the wait.
    pub(crate) fn read_response(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let mut backoff = Backoff::new(wait);
        loop {
            let missing = rx.missing()?;
            let status = self.status()?;
            if missing == 0 && status.has_data() {
                return Err(fail!(
                    ReturnCode::MALFORMED_RESPONSE,
                    "the response continues after the {} bytes that its header says",
                    rx.len()
                ));
            }
            let begun = status.has_data() || !rx.is_empty();
            if begun && status.is_valid() && !status.has_data() {
                return Ok(Progress::Complete); // the session checks the length
            }
            if status.expects_more() {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM expects more of a command that was sent completely; bytes were lost"
                ));
            }
            let burst = if status.has_data() { status.burst_count() } else { 0 };
            if burst > 0 {
                self.read_burst(rx, burst)?;
                self.stall = StallTimer::default();
                backoff.reset();
                continue;
            }
            if begun && self.stall.has_expired() {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the response stopped after {} bytes and did not continue within {TIMEOUT_A} ms",
                    rx.len()
                ));
            }
            let Some(slept) = backoff.pause(self.bus.clock())? else { return Ok(Progress::Pending) };
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
            rx.read_into(count, |room| {
                let room = room.get_mut(..count).unwrap_or_default();
                frame::read(&mut self.bus, Register::Fifo, room).map(|()| count)
            })??;
            burst -= count;
        }
        Ok(())
    }
}
