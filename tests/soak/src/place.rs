// SPDX-License-Identifier: BSD-2-Clause
//! What a kind of TPM has to bring to be under load: contexts, and faults.

use fastrand::Rng;
use std::time::Instant;
use tcti_core::Tcti;
use tcti_core::{Result, ReturnCode};

/// The codes of a broken connection or device.
pub(crate) const BROKEN: &[ReturnCode] = &[ReturnCode::IO_ERROR, ReturnCode::NO_CONNECTION];

/// The same, and that of an answer which is none.
pub(crate) const SPOILT: &[ReturnCode] =
    &[ReturnCode::IO_ERROR, ReturnCode::NO_CONNECTION, ReturnCode::MALFORMED_RESPONSE];

/// The same as [`BROKEN`], and that of a library which is not to be opened.
pub(crate) const NO_DESCRIPTORS: &[ReturnCode] =
    &[ReturnCode::IO_ERROR, ReturnCode::NO_CONNECTION, ReturnCode::NOT_SUPPORTED];

/// The largest command that each TPM reads to its end and refuses, in bytes of data.
pub(crate) const TAKEN: usize = 4000;

/// When a fault is wanted, and what else there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) moment: Moment,
    /// Whether no other context has a fault of its own, which would explain other codes.
    pub(crate) calm: bool,
    /// Whether no process that was forked lives.
    pub(crate) alone: bool,
}

/// When a fault is wanted.
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

/// A fault that is there from now on, until it is healed.
#[derive(Clone, Copy)]
pub(crate) struct Strike {
    pub(crate) fault: &'static str,
    /// What calls may answer while it is there, and right after it.
    pub(crate) codes: &'static [ReturnCode],
    pub(crate) reach: Reach,
    /// Whether it hits programs beside, too. There is none such without calm.
    pub(crate) beside: bool,
    /// Whether no answer may come while it is there.
    pub(crate) endless: bool,
    /// Whether forked processes meet it as well. What it does to this process alone they do not.
    pub(crate) forked: bool,
    /// Whether it costs us what is loaded.
    pub(crate) unloads: bool,
}

impl Strike {
    /// One of the connection or the device that a context has, and whoever inherits it.
    pub(crate) const fn of_one(fault: &'static str, codes: &'static [ReturnCode]) -> Strike {
        Strike { fault, codes, reach: Reach::One, beside: false, endless: false, forked: true, unloads: false }
    }

    /// One of this process alone.
    pub(crate) const fn of_process(fault: &'static str, codes: &'static [ReturnCode]) -> Strike {
        Strike { reach: Reach::Process, beside: true, endless: true, forked: false, ..Strike::of_one(fault, codes) }
    }
}

/// Whom a fault may hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The context it was made for.
    One,
    /// All contexts on the same TPM, which stays as it is.
    Server,
    /// The same, and the TPM may lose what it knows.
    Memory,
    /// All contexts of the process.
    Process,
}

/// A kind of TPM, and one or more of them.
pub(crate) trait Place {
    /// How many contexts there are at most.
    fn slots(&self) -> usize;

    /// Which TPM a context is on.
    fn server(&self, slot: usize) -> usize;

    /// Init.
    fn open(&mut self, slot: usize, rng: &mut Rng) -> Result<Box<dyn Tcti>>;

    /// Init on what keeps objects from one context to the next, where there is a choice.
    fn open_kept(&mut self, slot: usize, rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        self.open(slot, rng)
    }

    /// Where the objects are that the open context has loaded.
    fn keeps(&self, slot: usize) -> Keeps;

    /// Makes a fault; `None`: not now. One that reaches other contexts has to wait until it is calm.
    fn strike(&mut self, slot: usize, now: Now, rng: &mut Rng) -> Option<Strike>;

    /// Ends the fault, if it is still there. Whether anything met it, as far as that is seen from here.
    fn heal(&mut self, slot: usize) -> bool;

    /// Whether a slot is on the TPM that it was on when this was asked last, which has kept all that was written to it.
    fn keeps_memory(&mut self, _slot: usize) -> bool {
        true
    }

    /// Whether objects that the TPM of a slot keeps may have been lost since this was asked last.
    fn may_have_unloaded(&mut self, _slot: usize) -> bool {
        false
    }

    /// What contexts can do.
    fn abilities(&self) -> Abilities;

    /// Whether an open context has its server to itself: no other one is answered.
    fn is_exclusive(&self, _slot: usize) -> bool {
        false
    }

    /// Where other programs run.
    fn programs(&self) -> Programs {
        Programs::None
    }

    /// What tells whether something that is not of our making has kept a command from its answer since then.
    fn outside(&self) -> fn(Instant) -> bool {
        |_| false
    }

    /// Waits until what is left of closed contexts is gone; then descriptors can be counted. Gives what stays, in words.
    fn rest(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// The end; gives the rows of other processes of ours, and what went wrong in them.
    fn finish(&mut self) -> Vec<std::result::Result<String, String>> {
        Vec::new()
    }
}

/// How other programs have the TPM, and the `name:conf` that opens it.
pub(crate) enum Programs {
    None,
    /// At the same time. They fork, and with `Connection` have objects of their own.
    Beside(String, Keeps),
    /// While no context of ours has it.
    Between(String),
}

/// Where objects are that were loaded and not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// In a TPM, where others flush them.
    Nowhere,
    /// They live and die with the connection.
    Connection,
    /// In the TPM, for all contexts on it.
    Tpm,
}

/// Who refuses a command on a handle that nothing has, a fourth object, and one that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusals {
    /// The TPM, with a response.
    Tpm,
    /// A driver, with an error and without a response.
    Driver,
}

/// What contexts can do besides transmit and receive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    /// They can be used in processes that are forked.
    pub(crate) forks: bool,
    pub(crate) refusals: Refusals,
    /// The largest command that is refused as it should be, in bytes of data.
    pub(crate) largest: usize,
    /// Their calls make system calls, which signals interrupt.
    pub(crate) signals: bool,
    pub(crate) cancel: bool,
    pub(crate) locality: bool,
    pub(crate) poll: bool,
}
