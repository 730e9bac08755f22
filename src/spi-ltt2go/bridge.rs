// SPDX-License-Identifier: BSD-2-Clause
//! The bus [`Bridge`] uses the bridge of the stick (Cypress CY7C65211A). Each SPI transaction is a vendor request with the
//! number of bytes, then that many bytes out and in. Chip select cannot be controlled, so header and data are one
//! transaction, and the TPM inserts no wait states.
#![forbid(unsafe_code)]

use rusb::Error;
use std::time::{Duration, Instant};
use tcti_core::deadline::millis;
use tcti_core::{Conf, Inheritance, Result, ReturnCode, fail};
use tcti_tis::{Bus, Clock, HEADER_SIZE, MAX_DATA, OpenBus, SystemClock, Transfer};
use zeroize::Zeroizing;

/// The largest transaction in bytes.
pub const MAX_TRANSFER: usize = HEADER_SIZE + MAX_DATA;
/// How long a transaction may take. It takes milliseconds on a working bus.
pub const TIMEOUT: Duration = Duration::from_millis(1000);
/// How long to wait for stale bytes of a killed program. They are already in the bridge, so a few frames of the bus, of
/// 1 ms each, are enough.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(8);
/// The buffer size for stale bytes, in whole packets of a full-speed bus, and the largest number of reads.
const DRAIN_SIZE: usize = 512;
const MAX_DRAIN_READS: usize = 16;

/// An open stick that this process has claimed.
pub trait Stick: Send + 'static {
    /// Returns the serial number.
    fn serial(&self) -> &str;
    /// Announces a transaction of `count` bytes, 1 to 68.
    fn announce(&mut self, count: u16) -> rusb::Result<()>;
    /// Sends `out` and reads the bytes that are shifted in at the same time into `into`, which has the same length. Returns
    /// the number of bytes read, which may be smaller.
    fn exchange(&mut self, out: &[u8], into: &mut [u8]) -> rusb::Result<usize>;
    /// Reads more of the bytes that were shifted in; `Timeout` when there are none.
    fn read(&mut self, into: &mut [u8], timeout: Duration) -> rusb::Result<usize>;
    /// Sets whether a command is in progress. Returns whether the stick still belongs to this context.
    fn set_at_work(&mut self, at_work: bool) -> bool;
}

/// Finds a stick.
pub trait Find: Sized + Send + 'static {
    /// The type of the stick.
    type Stick: Stick;
    /// Parses the configuration string.
    fn parse(conf: Conf<'_>) -> Result<Self>;
    /// Opens the first stick that matches, or only the one with the serial number `same`. If there is none, the error is
    /// `IO_ERROR` for the former and `NO_CONNECTION` for the latter.
    fn find(&self, same: Option<&str>) -> Result<Self::Stick>;
}

/// The bus on a stick.
pub struct Bridge<F: Find> {
    find: F,
    /// Absent after a failed transfer, whose remains are unknown, until the next command.
    stick: Option<F::Stick>,
    /// The serial number of the stick that was found first; no other one replaces it.
    serial: String,
    clock: SystemClock,
}

impl<F: Find> Bridge<F> {
    /// Opens the first stick that matches.
    fn over(find: F) -> Result<Bridge<F>> {
        let stick = Bridge::connect(&find, None)?;
        let serial = stick.serial().to_owned();
        Ok(Bridge { find, stick: Some(stick), serial, clock: SystemClock::new() })
    }

    fn connect(find: &F, same: Option<&str>) -> Result<F::Stick> {
        let mut stick = find.find(same)?;
        drain(&mut stick).map_err(|error| broken(stick.serial(), "does not stop sending", error))?;
        Ok(stick)
    }
}

/// Drops stale bytes of a program that was killed between writing and reading.
fn drain(stick: &mut impl Stick) -> rusb::Result<()> {
    for _ in 0..MAX_DRAIN_READS {
        match stick.read(&mut *Zeroizing::new([0; DRAIN_SIZE]), DRAIN_TIMEOUT) {
            Ok(count) => log::debug!("{count} stale bytes from an earlier program"),
            Err(Error::Timeout) => return Ok(()),
            Err(Error::Pipe) => log::debug!("an endpoint that an earlier program left halted"),
            Err(error) => return Err(error),
        }
    }
    Err(Error::Overflow)
}

/// Runs one transaction.
fn shift(stick: &mut impl Stick, out: &[u8], into: &mut [u8]) -> core::result::Result<(), (&'static str, Error)> {
    let count = u16::try_from(out.len()).map_err(|_| ("shifts 68 bytes at most", Error::InvalidParam))?;
    let begin = Instant::now();
    stick.announce(count).map_err(|error| ("does not take the length of a transaction", error))?;
    let mut done = stick.exchange(out, into).map_err(|error| ("does not shift bytes", error))?;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let left = TIMEOUT.checked_sub(begin.elapsed()).filter(|left| left.as_millis() > 0);
        let left = left.ok_or(("returned too few bytes", Error::Timeout))?;
        done += stick.read(rest, left).map_err(|error| ("returned too few bytes", error))?;
    }
    Ok(())
}

/// Makes the error for a failed stick: `NO_CONNECTION` if it was unplugged, else `IO_ERROR`.
fn broken(serial: &str, what: &str, error: Error) -> tcti_core::Error {
    let stick = format!("the LetsTrust-TPM2Go \"{serial}\"");
    match error {
        Error::NoDevice | Error::NotFound => fail!(
            ReturnCode::NO_CONNECTION,
            "{stick} was unplugged. Plug it in again; the next command looks for it, and its TPM has to be started \
             (TPM2_Startup)"
        ),
        Error::Timeout => fail!(
            ReturnCode::IO_ERROR,
            "{stick} {what} within {} ms. The next command reopens it; if that does not help, unplug it and plug it \
             in again",
            millis(TIMEOUT)
        ),
        Error::Pipe => {
            fail!(ReturnCode::IO_ERROR, "{stick} {what}: it refuses the transfer (stall). Is this a LetsTrust-TPM2Go?")
        }
        error => fail!(ReturnCode::IO_ERROR, "{stick} {what}: {error}. The next command reopens it"),
    }
}

impl<F: Find> OpenBus for Bridge<F> {
    fn open(conf: Conf<'_>) -> Result<Bridge<F>> {
        Bridge::over(F::parse(conf)?)
    }
}

impl<F: Find> Bus for Bridge<F> {
    /// Only one process can claim a stick.
    const SHARED_BY_FORK: bool = false;

    fn transfer(&mut self, transfer: Transfer<'_>) -> Result<()> {
        // The reason was returned when the stick was lost.
        let Some(stick) = &mut self.stick else { return Err(ReturnCode::NO_CONNECTION.into()) };
        let (mut zeroes, mut dropped) = ([0; MAX_TRANSFER], Zeroizing::new([0; MAX_TRANSFER]));
        let count = transfer.len();
        let out = transfer.out.or(zeroes.get_mut(..count).map(|zeroes| &*zeroes));
        let into = transfer.into.or(dropped.get_mut(..count));
        let (Some(out), Some(into)) = (out, into) else { return Err(ReturnCode::BAD_VALUE.into()) };
        shift(stick, out, into).map_err(|(what, error)| {
            self.stick = None;
            match error {
                // Only in Finalize of a context whose stick another context has taken over.
                Error::Busy => ReturnCode::NO_CONNECTION.into(),
                error => broken(&self.serial, what, error),
            }
        })
    }

    fn clock(&mut self) -> &mut dyn Clock {
        &mut self.clock
    }

    fn begin_command(&mut self) -> Result<bool> {
        if self.stick.as_mut().is_some_and(|stick| stick.set_at_work(true)) {
            return Ok(false);
        }
        self.stick = None;
        self.stick = Some(Bridge::connect(&self.find, Some(&self.serial))?);
        Ok(true)
    }

    /// Drops late or unsolicited bytes, which would shift the data of every later transaction.
    fn abandon(&mut self) {
        if self.stick.as_mut().is_some_and(|stick| drain(stick).is_err()) {
            self.stick = None; // the next command reopens it
        }
    }

    /// Forgets the stick without releasing it: the parent has claimed it, and may have been using it in another thread.
    fn after_fork(&mut self, _inheritance: Inheritance) {
        core::mem::forget(self.stick.take());
    }

    fn end_command(&mut self) {
        if let Some(stick) = &mut self.stick {
            stick.set_at_work(false);
        }
    }
}

#[cfg(test)]
mod tests;
