// SPDX-License-Identifier: BSD-2-Clause
//! The interface of a kind of TPM that is put under load: contexts and faults ([`Target`]).

use fastrand::Rng;
use std::time::Instant;
use tcti_core::Tcti;
use tcti_core::{Result, ReturnCode};

/// The return codes for a broken connection or device.
pub(crate) const BROKEN: &[ReturnCode] = &[ReturnCode::IO_ERROR, ReturnCode::NO_CONNECTION];

/// The same, and the code for a malformed response.
pub(crate) const SPOILT: &[ReturnCode] =
    &[ReturnCode::IO_ERROR, ReturnCode::NO_CONNECTION, ReturnCode::MALFORMED_RESPONSE];

/// The same as [`BROKEN`], and the code for a library that cannot be opened.
pub(crate) const NO_DESCRIPTORS: &[ReturnCode] =
    &[ReturnCode::IO_ERROR, ReturnCode::NO_CONNECTION, ReturnCode::NOT_SUPPORTED];

/// Data bytes of the largest command that every TPM reads to its end and refuses.
pub(crate) const TAKEN: usize = 4000;

/// The circumstances of a new fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) moment: Moment,
    /// Whether no other context has a fault, which would explain other codes.
    pub(crate) calm: bool,
    /// Whether there is no forked process.
    pub(crate) alone: bool,
}

/// The time of a new fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before Init.
    Open,
    /// Before a command.
    Command,
    /// Before setLocality, or another call on a second channel.
    Control,
    /// While a response is due.
    Due,
}

/// A fault that lasts until it is healed.
#[derive(Clone, Copy)]
pub(crate) struct Strike {
    pub(crate) fault: &'static str,
    /// The return codes that calls may have while it lasts, and right after it.
    pub(crate) codes: &'static [ReturnCode],
    pub(crate) reach: Reach,
    /// Whether it reaches other programs, too. Such a fault needs `calm`.
    pub(crate) reaches_programs: bool,
    /// Whether a response may not come while it lasts.
    pub(crate) endless: bool,
    /// Whether it reaches forked processes, too.
    pub(crate) forked: bool,
    /// Whether loaded objects are lost.
    pub(crate) unloads: bool,
}

impl Strike {
    /// A fault of the connection or device of one context, also in processes that inherit it.
    pub(crate) const fn of_one(fault: &'static str, codes: &'static [ReturnCode]) -> Strike {
        Strike {
            fault,
            codes,
            reach: Reach::One,
            reaches_programs: false,
            endless: false,
            forked: true,
            unloads: false,
        }
    }

    /// A fault of this process alone.
    pub(crate) const fn of_process(fault: &'static str, codes: &'static [ReturnCode]) -> Strike {
        Strike {
            reach: Reach::Process,
            reaches_programs: true,
            endless: true,
            forked: false,
            ..Strike::of_one(fault, codes)
        }
    }
}

/// Which contexts a fault may affect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The context for which it was made.
    One,
    /// All contexts on the same TPM, which keeps its state.
    Server,
    /// All contexts on the same TPM, which may lose its state.
    Memory,
    /// All contexts of the process.
    Process,
}

/// One or more TPMs of a kind.
pub(crate) trait Target {
    /// Returns the maximum number of contexts.
    fn slots(&self) -> usize;

    /// Returns the number of the TPM that a context uses.
    fn server(&self, slot: usize) -> usize;

    /// Opens a context.
    fn open(&mut self, slot: usize, rng: &mut Rng) -> Result<Box<dyn Tcti>>;

    /// Opens a context on a TPM that keeps objects from one context to the next, where there is a choice.
    fn open_kept(&mut self, slot: usize, rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        self.open(slot, rng)
    }

    /// Returns where the objects are that the open context has loaded.
    fn keeps(&self, slot: usize) -> Keeps;

    /// Makes a fault. Returns `None` if none can be made now: one that reaches other contexts needs `calm`.
    fn strike(&mut self, slot: usize, now: Now, rng: &mut Rng) -> Option<Strike>;

    /// Ends the fault, if it lasts. Returns whether it is known to have affected anything.
    fn heal(&mut self, slot: usize) -> bool;

    /// Whether a slot is on the same TPM as at the last call, and that has kept everything that was written to it.
    fn keeps_memory(&mut self, _slot: usize) -> bool {
        true
    }

    /// Whether the TPM of a slot may have lost objects since the last call.
    fn may_have_unloaded(&mut self, _slot: usize) -> bool {
        false
    }

    /// Returns the abilities of the contexts.
    fn abilities(&self) -> Abilities;

    /// Whether the server serves one open context alone.
    fn is_exclusive(&self, _slot: usize) -> bool {
        false
    }

    /// Returns how other programs use the TPM.
    fn programs(&self) -> Programs {
        Programs::None
    }

    /// Returns a function that says whether something that the soak did not cause has kept a command from its response
    /// since a time.
    fn outside(&self) -> fn(Instant) -> bool {
        |_| false
    }

    /// Waits until closed contexts have left nothing behind, so that descriptors can be counted. Returns a text for
    /// everything that stays.
    fn rest(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Ends everything. Returns the rows of the soak's other processes, and their failures.
    fn finish(&mut self) -> Vec<std::result::Result<String, String>> {
        Vec::new()
    }
}

/// How other programs use the TPM, with the `name:conf` that opens it.
pub(crate) enum Programs {
    None,
    /// At the same time as the contexts. They fork, and with `Connection` have objects of their own.
    Concurrent(String, Keeps),
    /// While no context is open.
    Between(String),
}

/// Where loaded objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// In a TPM, where other processes flush them.
    Nowhere,
    /// In the connection: they are flushed when it ends.
    Connection,
    /// In the TPM, for all contexts on it.
    Tpm,
}

/// Who refuses a command with an unknown handle, a fourth object, or too many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusals {
    /// The TPM, with a response.
    Tpm,
    /// A driver, with an error and without a response.
    Driver,
}

/// The abilities of contexts besides transmit and receive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    /// They can be used in forked processes.
    pub(crate) forks: bool,
    pub(crate) refusals: Refusals,
    /// Data bytes of the largest command that is refused properly.
    pub(crate) largest: usize,
    /// Their calls make system calls, which signals can interrupt.
    pub(crate) signals: bool,
    pub(crate) cancel: bool,
    pub(crate) locality: bool,
    pub(crate) poll: bool,
}
