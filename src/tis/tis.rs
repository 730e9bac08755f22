// SPDX-License-Identifier: BSD-2-Clause
//! The transport: when the TPM is made ready, when a command is aborted, and what is done at open and at the end. How
//! bytes go through the FIFO is in `fifo`.

use crate::bus::{Bus, OpenBus};
use crate::clock::Backoff;
use crate::fifo::Stall;
use crate::registers::{Register, Status, TIMEOUT_B};
use crate::{frame, locality};
use core::mem::replace;
use tcti_core::{
    Conf, Inheritance, LastExchange, Module, Open, Progress, Result, ReturnCode, RxBuf, Sharing, Transport, Wait, fail,
};

/// Names the contexts of every module that reaches a TPM over SPI, as in the C modules.
pub const MAGIC: u64 = 0x4d5c_6e8b_d481_1477;

/// So many statuses in a row that no TPM gives mean that there is none any more. With the pauses between two looks they
/// take about TIMEOUT_C.
const MAX_DOUBTS: u32 = 50;

/// A TPM on a SPI bus.
pub struct Tis<B: Bus> {
    pub(crate) bus: B,
    state: State,
    /// Statuses in a row that no TPM gives.
    doubts: u32,
    /// Since the last byte of a response that has begun.
    pub(crate) stall: Stall,
}

/// What is known of the TPM.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The locality was not claimed yet.
    Foreign,
    /// A command may be under way, or be left from an exchange that failed. The next one aborts it.
    Unsettled,
    /// Nothing is under way and commandReady was written.
    Settled,
}

impl<B: Bus> Tis<B> {
    /// Claims the TPM on `bus` and makes it ready. `IO_ERROR` when none answers or its locality is not to be had.
    pub fn over(bus: B) -> Result<Tis<B>> {
        let mut tis = Tis { bus, state: State::Foreign, doubts: 0, stall: Stall::default() };
        match tis.set_up() {
            Ok(()) => Ok(tis),
            Err(rc) => {
                tis.release();
                Err(rc)
            }
        }
    }

    fn set_up(&mut self) -> Result<()> {
        locality::identify(&mut self.bus)?;
        self.settle()?;
        self.state = State::Settled;
        self.bus.end();
        Ok(())
    }

    /// Relinquishes the locality if it was claimed; the next user claims it again. A failure goes to the log, since nobody
    /// is left to return it to.
    fn release(&mut self) {
        match self.state {
            State::Foreign => return,
            State::Unsettled => drop(self.write_status(Status::COMMAND_READY)),
            State::Settled => {}
        }
        if let Err(error) = locality::release(&mut self.bus) {
            log::warn!("cannot relinquish the locality: {error}");
        }
    }

    /// The bus.
    pub fn bus_mut(&mut self) -> &mut B {
        &mut self.bus
    }

    /// The next command aborts whatever is left.
    fn unsettle(&mut self) {
        if self.state == State::Settled {
            self.state = State::Unsettled;
        }
    }

    /// Aborts whatever is under way. The TPM may have been reset meanwhile, so the locality is looked at first.
    fn settle(&mut self) -> Result<Status> {
        locality::claim(&mut self.bus)?;
        self.state = State::Unsettled;
        self.write_status(Status::COMMAND_READY)?;
        self.ready()
    }

    /// Waits until the TPM takes a command. From a finished command it may first go to Idle, where it needs another
    /// commandReady.
    fn ready(&mut self) -> Result<Status> {
        let mut patience = Backoff::new(Wait::Millis(TIMEOUT_B));
        loop {
            let status = self.status()?;
            if status.is_ready() {
                return Ok(status);
            }
            self.write_status(Status::COMMAND_READY)?;
            if patience.pause(self.bus.clock())?.is_none() {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM is not ready for a command within {TIMEOUT_B} ms; its status is {status:#010x}. It may \
                     still work on an earlier one"
                ));
            }
        }
    }

    /// Reads flags and burst count at once. What no TPM gives passes for "not yet", but not for long.
    pub(crate) fn status(&mut self) -> Result<Status> {
        let mut bytes = [0; 4];
        frame::read(&mut self.bus, Register::Status, &mut bytes)?;
        let status = Status::from_register(bytes);
        if status.is_possible() && !status.is_blank() {
            self.doubts = 0;
            return Ok(status);
        }
        self.doubts += 1;
        if self.doubts >= MAX_DOUBTS {
            self.doubts = 0;
            let access = locality::access(&mut self.bus)?;
            // A blank status is odd, but not impossible while a TPM is busy.
            if !(access.is_ours() && status.is_blank()) {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM answers no more: its status reads {status:#010x}, its access register {:#04x}. It was \
                     reset, or the bus fails",
                    access.0
                ));
            }
        }
        Ok(status)
    }

    pub(crate) fn write_status(&mut self, flag: u8) -> Result<()> {
        frame::write(&mut self.bus, Register::Status, &[flag])
    }
}

impl<B: Bus> Transport for Tis<B> {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        (self.doubts, self.stall) = (0, Stall::default());
        if self.bus.begin()? {
            self.state = State::Foreign;
            locality::identify(&mut self.bus)?;
        }
        let status = match replace(&mut self.state, State::Unsettled) {
            State::Settled => self.ready()?,
            State::Unsettled | State::Foreign => self.settle()?,
        };
        self.write_command(command, status)?;
        self.write_status(Status::GO)
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let progress = self.read_response(rx, wait)?;
        // The TPM prepares for the next command while the caller works on this response, which is whole whatever comes
        // of it.
        if progress == Progress::Complete {
            if self.write_status(Status::COMMAND_READY).is_ok() {
                self.state = State::Settled;
            }
            self.bus.end();
        }
        Ok(progress)
    }

    fn abandon(&mut self) {
        self.unsettle();
        self.bus.abandon();
        self.bus.end();
    }

    /// A bus that cannot be opened twice stays, whatever the system denied.
    fn after_fork(&mut self, inheritance: Inheritance) {
        self.unsettle();
        self.bus.after_fork(inheritance);
    }

    fn is_shared(&self) -> bool {
        B::SHARED_BY_FORK
    }

    /// Another process may have left a command, or given the locality back.
    fn resume(&mut self, _before: LastExchange) -> Result<()> {
        self.unsettle();
        Ok(())
    }

    fn close(&mut self, _company: Sharing) {
        self.release();
    }
}

impl<B: Bus> Module for Tis<B> {
    const MAGIC: u64 = MAGIC;
    const TOO_SMALL: ReturnCode = ReturnCode::INSUFFICIENT_BUFFER; // as the C modules, which leave it to that for spi-helper
}

impl<B: OpenBus> Open for Tis<B> {
    fn open(conf: Conf<'_>) -> Result<Tis<B>> {
        Tis::over(B::open(conf)?)
    }
}
