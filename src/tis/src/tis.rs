// SPDX-License-Identifier: BSD-2-Clause
//! The transport: when the TPM is made ready, when a command is aborted, and what is done at open and at the end. How
//! bytes go through the FIFO is in `fifo`.

use crate::bus::{Bus, OpenBus};
use crate::clock::Patience;
use crate::fifo::Stall;
use crate::registers::{Register, Status, TIMEOUT_B};
use crate::turns::{Last, Turns};
use crate::{frame, locality};
use core::mem::replace;
use tcti_core::{Conf, Open, Progress, Rc, Result, RxBuf, Transport, Wait, fail};

/// Names the contexts of every module that reaches a TPM over SPI, as in the C modules.
pub const MAGIC: u64 = 0x4d5c_6e8b_d481_1477;

/// So many statuses in a row that no TPM gives mean that there is none any more. With the pauses between two looks they
/// take about TIMEOUT_C.
const MAX_DOUBTS: u32 = 50;

/// A TPM on a SPI bus.
pub struct Tis<B: Bus> {
    pub(crate) bus: B,
    /// `None` on a bus that no forked process shares.
    pub(crate) turns: Option<Turns>,
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
        let turns = if B::SHARED_BY_FORK { Some(Turns::new()?) } else { None };
        let mut tis = Tis { bus, turns, state: State::Foreign, doubts: 0, stall: Stall::default() };
        tis.begin()?;
        locality::identify(&mut tis.bus)?;
        tis.settle()?;
        tis.state = State::Settled;
        tis.end();
        Ok(tis)
    }

    /// The bus.
    pub fn bus_mut(&mut self) -> &mut B {
        &mut self.bus
    }

    /// Aborts whatever is under way. The TPM may have been reset meanwhile, so the locality is looked at first.
    fn settle(&mut self) -> Result<Status> {
        locality::claim(&mut self.bus)?;
        self.state = State::Unsettled;
        self.write_status(Status::COMMAND_READY)?;
        self.ready()
    }

    /// Waits until no other process has the bus.
    fn begin(&mut self) -> Result<Last> {
        match &mut self.turns {
            Some(turns) => turns.begin(self.bus.clock()),
            None => Ok(Last::Mine),
        }
    }

    /// The command is over: others may have the bus.
    fn end(&mut self) {
        self.bus.end();
        if let Some(turns) = &self.turns {
            turns.end();
        }
    }

    /// Waits until the TPM takes a command. From a finished command it may first go to Idle, where it needs another
    /// commandReady.
    fn ready(&mut self) -> Result<Status> {
        let mut patience = Patience::new(Wait::Millis(TIMEOUT_B));
        loop {
            let status = self.status()?;
            if status.is_ready() {
                return Ok(status);
            }
            self.write_status(Status::COMMAND_READY)?;
            if patience.pause(self.bus.clock())?.is_none() {
                return Err(fail!(
                    Rc::IO_ERROR,
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
                    Rc::IO_ERROR,
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
        let last = self.begin()?;
        if self.bus.begin()? {
            self.state = State::Foreign;
            locality::identify(&mut self.bus)?;
        }
        // Another process may have left a command, or given the locality back.
        let status = match (replace(&mut self.state, State::Unsettled), last) {
            (State::Settled, Last::Mine) => self.ready()?,
            (State::Settled | State::Unsettled | State::Foreign, _) => self.settle()?,
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
            self.end();
        }
        Ok(progress)
    }

    fn abandon(&mut self) {
        if self.state == State::Settled {
            self.state = State::Unsettled;
        }
        self.bus.abandon();
        self.end();
    }

    /// A bus that cannot be opened twice is shared from here on; whose turn it is decides who talks to the TPM.
    fn inherited(&mut self) {
        if let Some(turns) = &mut self.turns {
            turns.inherited();
        }
        self.bus.inherited();
    }
}

impl<B: OpenBus> Open for Tis<B> {
    const MAGIC: u64 = MAGIC;

    fn open(conf: Conf<'_>) -> Result<Tis<B>> {
        Tis::over(B::open(conf)?)
    }
}

impl<B: Bus> Drop for Tis<B> {
    /// A process that has used the TPM gives its locality back, unless another one is at work; whoever goes on claims it
    /// again. Whatever fails here was tried; there is nobody left to tell but the log.
    fn drop(&mut self) {
        if self.state == State::Foreign {
            return;
        }
        let last = match &mut self.turns {
            None => Last::Mine,
            Some(turns) if !turns.had_one() => return,
            Some(turns) => match turns.try_begin() {
                Ok(Some(last)) => last,
                Ok(None) | Err(_) => return,
            },
        };
        if (self.state, last) == (State::Unsettled, Last::Mine) {
            let _ = self.write_status(Status::COMMAND_READY);
        }
        let _ = locality::release(&mut self.bus);
    }
}
