// SPDX-License-Identifier: BSD-2-Clause
//! What a kind of TPM has to bring to be under load: contexts, and faults.

use crate::tcti::Tcti;
use fastrand::Rng;
use tcti_core::{Rc, Result};

/// The codes of a broken connection or device.
pub(crate) const BROKEN: &[Rc] = &[Rc::IO_ERROR, Rc::NO_CONNECTION, Rc::MALFORMED_RESPONSE];

/// The same, and that of a library which is not to be opened.
pub(crate) const NO_DESCRIPTORS: &[Rc] = &[Rc::IO_ERROR, Rc::NO_CONNECTION, Rc::MALFORMED_RESPONSE, Rc::NOT_SUPPORTED];

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
pub(crate) struct Strike {
    pub(crate) fault: &'static str,
    /// What calls may answer.
    pub(crate) codes: &'static [Rc],
    pub(crate) reach: Reach,
    /// Whether no answer may come while it is there.
    pub(crate) endless: bool,
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

    /// Makes a fault; `None`: not at this moment.
    fn strike(&mut self, slot: usize, moment: Moment, rng: &mut Rng) -> Option<Strike>;

    /// Ends the fault, if it is still there.
    fn heal(&mut self, slot: usize);

    /// Whether each open of a slot leads to the TPM that it led to before, with all that was written to it.
    fn keeps_memory(&self, _slot: usize) -> bool {
        true
    }

    /// Whether contexts have a cancel, setLocality and descriptors to poll.
    fn abilities(&self) -> Abilities;

    /// The `name:conf` of the TPM that tpm2-tools use beside us.
    fn for_tools(&self) -> Option<String> {
        None
    }

    /// Waits until what is left of closed contexts is gone; then descriptors can be counted.
    fn pause(&mut self) {}

    /// The end; gives the rows of other processes of ours.
    fn finish(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// What contexts can do besides transmit and receive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    pub(crate) cancel: bool,
    pub(crate) locality: bool,
    pub(crate) poll: bool,
}
