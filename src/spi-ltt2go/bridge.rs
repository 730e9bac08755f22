// SPDX-License-Identifier: BSD-2-Clause
//! The bridge of the stick as a bus (Cypress CY7C65211A): per SPI transaction a vendor request that says how many
//! bytes will be shifted, then as many bytes out and in. There is no chip select to control, so header and data go in
//! one transaction, and the TPM inserts no wait states.
#![forbid(unsafe_code)]

use rusb::Error;
use std::time::{Duration, Instant};
use tcti_core::{Conf, Inheritance, Result, ReturnCode, fail};
use tcti_tis::{Bus, Clock, HEADER_SIZE, MAX_DATA, OpenBus, SystemClock, Transfer};

/// Most bytes of a transaction.
pub const MAX_TRANSFER: usize = HEADER_SIZE + MAX_DATA;
/// How long a transaction may take. On a bus that works it is milliseconds.
pub const TIMEOUT: Duration = Duration::from_millis(1000);
/// How long to wait for bytes that a program left that was killed. They are there or not, so a few turns of the bus,
/// of 1 ms each, tell.
const DRAIN: Duration = Duration::from_millis(8);
/// Room for what is left, in whole packets of a full-speed bus; and how often it may be filled.
const STALE: usize = 512;
const MAX_STALE: usize = 16;

/// A stick that is open, and ours alone.
pub trait Stick: Send + 'static {
    /// Its serial number.
    fn serial(&self) -> &str;
    /// Says that `count` bytes will be shifted, 1 to 68.
    fn announce(&mut self, count: u16) -> rusb::Result<()>;
    /// Shifts `out` and begins to read what comes back, at once. Gives how many bytes came, at most those of `into`,
    /// which is as long.
    fn exchange(&mut self, out: &[u8], into: &mut [u8]) -> rusb::Result<usize>;
    /// Reads more of what came back; `Timeout` when there is nothing.
    fn read(&mut self, into: &mut [u8], timeout: Duration) -> rusb::Result<usize>;
    /// Whether a command is under way from now on. The answer is whether the stick still is ours.
    fn set_at_work(&mut self, at_work: bool) -> bool;
}

/// How a stick is found.
pub trait Find: Sized + Send + 'static {
    /// What is found.
    type Stick: Stick;
    /// From the configuration string.
    fn parse(conf: Conf<'_>) -> Result<Self>;
    /// Opens the first stick that matches, or the one with the serial number `same`. When there is none, the answer is
    /// `IO_ERROR` for the first and `NO_CONNECTION` for the second.
    fn find(&self, same: Option<&str>) -> Result<Self::Stick>;
}

/// The bus on a stick.
pub struct Bridge<F: Find> {
    find: F,
    /// Absent after a failure, until the next command: what a transfer that failed left is of no use.
    stick: Option<F::Stick>,
    /// Of the stick that was found first; no other one takes its place.
    serial: String,
    clock: SystemClock,
}

impl<F: Find> Bridge<F> {
    /// Of the first stick that matches.
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

/// Drops what a program left that was killed between writing and reading.
fn drain(stick: &mut impl Stick) -> rusb::Result<()> {
    for _ in 0..MAX_STALE {
        match stick.read(&mut [0; STALE], DRAIN) {
            Ok(count) => log::debug!("{count} stale bytes from an earlier program"),
            Err(Error::Timeout) => return Ok(()),
            Err(Error::Pipe) => log::debug!("an endpoint that an earlier program left halted"),
            Err(error) => return Err(error),
        }
    }
    Err(Error::Overflow)
}

/// One whole transaction.
fn shift(stick: &mut impl Stick, out: &[u8], into: &mut [u8]) -> core::result::Result<(), (&'static str, Error)> {
    let count = u16::try_from(out.len()).map_err(|_| ("shifts 68 bytes at most", Error::InvalidParam))?;
    let begin = Instant::now();
    stick.announce(count).map_err(|error| ("does not take the length of a transaction", error))?;
    let mut done = stick.exchange(out, into).map_err(|error| ("does not shift bytes", error))?;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let left = TIMEOUT.checked_sub(begin.elapsed()).filter(|left| left.as_millis() > 0);
        let left = left.ok_or(("gave back too few bytes", Error::Timeout))?;
        done += stick.read(rest, left).map_err(|error| ("gave back too few bytes", error))?;
    }
    Ok(())
}

/// Says what went wrong with the stick. One that was unplugged is `NO_CONNECTION`.
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
            "{stick} {what} within {} ms. The next command opens it anew; if that does not help, unplug it and plug it \
             in again",
            TIMEOUT.as_millis()
        ),
        Error::Pipe => {
            fail!(ReturnCode::IO_ERROR, "{stick} {what}: it refuses the transfer (stall). Is this a LetsTrust-TPM2Go?")
        }
        error => fail!(ReturnCode::IO_ERROR, "{stick} {what}: {error}. The next command opens it anew"),
    }
}

impl<F: Find> OpenBus for Bridge<F> {
    fn open(conf: Conf<'_>) -> Result<Bridge<F>> {
        Bridge::over(F::parse(conf)?)
    }
}

impl<F: Find> Bus for Bridge<F> {
    /// A stick is claimed by one process.
    const SHARED_BY_FORK: bool = false;

    fn transfer(&mut self, transfer: Transfer<'_>) -> Result<()> {
        // Why there is none was said when it was lost.
        let Some(stick) = &mut self.stick else { return Err(ReturnCode::NO_CONNECTION.into()) };
        let (mut zeroes, mut nobody) = ([0; MAX_TRANSFER], [0; MAX_TRANSFER]);
        let count = transfer.len();
        let out = transfer.out.or(zeroes.get_mut(..count).map(|zeroes| &*zeroes));
        let into = transfer.into.or(nobody.get_mut(..count));
        let (Some(out), Some(into)) = (out, into) else { return Err(ReturnCode::BAD_VALUE.into()) };
        shift(stick, out, into).map_err(|(what, error)| {
            self.stick = None;
            match error {
                // Only at the end of a context whose stick has another one by now.
                Error::Busy => ReturnCode::NO_CONNECTION.into(),
                error => broken(&self.serial, what, error),
            }
        })
    }

    fn clock(&mut self) -> &mut dyn Clock {
        &mut self.clock
    }

    fn begin(&mut self) -> Result<bool> {
        if self.stick.as_mut().is_some_and(|stick| stick.set_at_work(true)) {
            return Ok(false);
        }
        self.stick = None;
        self.stick = Some(Bridge::connect(&self.find, Some(&self.serial))?);
        Ok(true)
    }

    /// Bytes that came late, or that nobody asked for, would be taken for those of every later transaction.
    fn abandon(&mut self) {
        if self.stick.as_mut().is_some_and(|stick| drain(stick).is_err()) {
            self.stick = None; // the next command opens it anew
        }
    }

    /// Neither used nor given back: the parent has it claimed, and may have been inside it on another thread.
    fn after_fork(&mut self, _inheritance: Inheritance) {
        core::mem::forget(self.stick.take());
    }

    fn end(&mut self) {
        if let Some(stick) = &mut self.stick {
            stick.set_at_work(false);
        }
    }
}

#[cfg(test)]
mod tests;
