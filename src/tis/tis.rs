// SPDX-License-Identifier: BSD-2-Clause
//! The transport [`Tis`]: opening and closing, making the TPM ready, and aborting commands. `fifo` transfers the bytes.

use crate::bus::{Bus, OpenBus};
use crate::clock::Backoff;
use crate::fifo::StallTimer;
use crate::registers::{Register, Status, TIMEOUT_B};
use crate::{frame, locality};
use core::mem::replace;
use tcti_core::{
    Conf, Error, Inheritance, LastExchange, Module, Open, Progress, Result, ReturnCode, RxBuf, Sharing, Transport,
    Wait, fail,
};

/// The magic of the contexts of every module for SPI, as in the C modules.
pub const MAGIC: u64 = 0x4d5c_6e8b_d481_1477;

/// How many consecutive invalid statuses mean that the TPM is gone. With the pauses in between they take about TIMEOUT_C.
const MAX_INVALID_STATUSES: u32 = 50;

/// A TPM on an SPI bus.
pub struct Tis<B: Bus> {
    pub(crate) bus: B,
    state: State,
    /// Consecutive statuses that no working TPM reports.
    invalid_statuses: u32,
    /// Runs since the last byte of an incomplete response.
    pub(crate) stall: StallTimer,
}

/// The state of the TPM, as far as this process knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The locality is not claimed yet.
    Unclaimed,
    /// A command may be in progress, or left over from a failed exchange. It is aborted before the next one.
    MustAbort,
    /// No command is in progress, and commandReady was written.
    Prepared,
}

impl<B: Bus> Tis<B> {
    /// Claims the TPM on `bus` and makes it ready. `IO_ERROR` when no TPM answers or its locality is not available.
    pub fn over(bus: B) -> Result<Tis<B>> {
        let mut tis = Tis { bus, state: State::Unclaimed, invalid_statuses: 0, stall: StallTimer::default() };
        match tis.set_up() {
            Ok(()) => Ok(tis),
            Err(error) => {
                tis.release();
                Err(error)
            }
        }
    }

    fn set_up(&mut self) -> Result<()> {
        locality::identify(&mut self.bus)?;
        self.make_ready()?;
        self.state = State::Prepared;
        self.bus.end_command();
        Ok(())
    }

    /// Relinquishes the locality if it was claimed; the next user claims it again.
    fn release(&mut self) {
        match self.state {
            State::Unclaimed => return,
            State::MustAbort => drop(self.write_status(Status::COMMAND_READY)),
            State::Prepared => {}
        }
        let _ = locality::release(&mut self.bus).inspect_err(Error::warn);
    }

    /// Returns the bus.
    pub fn bus_mut(&mut self) -> &mut B {
        &mut self.bus
    }

    /// Makes the next `send` abort whatever is in progress.
    fn require_abort(&mut self) {
        if self.state == State::Prepared {
            self.state = State::MustAbort;
        }
    }

    /// Aborts whatever is in progress and waits until the TPM is ready. Claims the locality first, since the TPM may have
    /// been reset.
    fn make_ready(&mut self) -> Result<Status> {
        locality::claim(&mut self.bus)?;
        self.state = State::MustAbort;
        self.write_status(Status::COMMAND_READY)?;
        self.wait_until_ready()
    }

    /// Waits until the TPM is ready for a command. After a finished command it may go through its Idle state, which takes
    /// another commandReady to leave.
    fn wait_until_ready(&mut self) -> Result<Status> {
        let mut backoff = Backoff::new(Wait::Millis(TIMEOUT_B));
        loop {
            let status = self.status()?;
            if status.is_ready() {
                return Ok(status);
            }
            self.write_status(Status::COMMAND_READY)?;
            if backoff.pause(self.bus.clock())?.is_none() {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM is not ready for a command within {TIMEOUT_B} ms; its status is {status:#010x}. It may \
                     still work on an earlier one"
                ));
            }
        }
    }

    /// Reads flags and burst count in one transaction. Callers take an invalid status for "not yet"; too many in a row are
    /// an error.
    pub(crate) fn status(&mut self) -> Result<Status> {
        let mut bytes = [0; 4];
        frame::read(&mut self.bus, Register::Status, &mut bytes)?;
        let status = Status::from_register(bytes);
        if status.is_possible() && !status.is_blank() {
            self.invalid_statuses = 0;
            return Ok(status);
        }
        self.invalid_statuses += 1;
        if self.invalid_statuses >= MAX_INVALID_STATUSES {
            self.invalid_statuses = 0;
            let access = locality::access(&mut self.bus)?;
            // A blank status is unusual, but possible while a TPM is busy.
            if !(access.is_ours() && status.is_blank()) {
                return Err(fail!(
                    ReturnCode::IO_ERROR,
                    "the TPM no longer answers: its status reads {status:#010x}, its access register {:#04x}. It was \
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
        (self.invalid_statuses, self.stall) = (0, StallTimer::default());
        if self.bus.begin_command()? {
            self.state = State::Unclaimed;
            locality::identify(&mut self.bus)?;
        }
        let status = match replace(&mut self.state, State::MustAbort) {
            State::Prepared => self.wait_until_ready()?,
            State::MustAbort | State::Unclaimed => self.make_ready()?,
        };
        self.write_command(command, status)?;
        self.write_status(Status::GO)
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let progress = self.read_response(rx, wait)?;
        // The TPM prepares for the next command while the caller handles this response, which is complete even if this
        // fails.
        if progress == Progress::Complete {
            if self.write_status(Status::COMMAND_READY).is_ok() {
                self.state = State::Prepared;
            }
            self.bus.end_command();
        }
        Ok(progress)
    }

    fn abandon(&mut self) {
        self.require_abort();
        self.bus.abandon();
        self.bus.end_command();
    }

    /// Lets the bus decide what it keeps: one that cannot be opened twice is kept whatever the inheritance.
    fn after_fork(&mut self, inheritance: Inheritance) {
        self.require_abort();
        self.bus.after_fork(inheritance);
    }

    fn drop_closed(&mut self) -> bool {
        self.bus.drop_closed()
    }

    fn is_shared(&self) -> bool {
        B::SHARED_BY_FORK
    }

    /// Makes the next command claim the locality and abort: another process may have relinquished the locality, or left a
    /// command in progress.
    fn resume(&mut self, _last: LastExchange) -> Result<()> {
        self.require_abort();
        Ok(())
    }

    fn close(&mut self, _sharing: Sharing) {
        self.release();
    }
}

impl<B: Bus> Module for Tis<B> {
    const MAGIC: u64 = MAGIC;
    const TOO_SMALL: ReturnCode = ReturnCode::INSUFFICIENT_BUFFER; // as in the C modules, through that for spi-helper
}

impl<B: OpenBus> Open for Tis<B> {
    fn open(conf: Conf<'_>) -> Result<Tis<B>> {
        Tis::over(B::open(conf)?)
    }
}
