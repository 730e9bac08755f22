// SPDX-License-Identifier: BSD-2-Clause
//! What a module has to implement: [`Transport`], one command out and one response back, and [`Open`],
//! how a configuration string makes one, or [`Module`] where something else does. Everything else of a TCTI is `session` and `ffi`.

use crate::conf::Conf;
use crate::deadline::Wait;
use crate::rc::Result;
use crate::rx::RxBuf;
use std::os::fd::RawFd;

/// An entry for `poll(2)`.
pub type PollHandle = libc::pollfd;

/// A transport's cancel.
pub type Cancel<T> = fn(&mut T) -> Result<()>;
/// A transport's setLocality.
pub type SetLocality<T> = fn(&mut T, locality: u8) -> Result<()>;
/// A transport's getPollHandles.
pub type GetPollHandles<T> = fn(&T) -> Result<Vec<RawFd>>;

/// How far a receive came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The response is in the buffer, whole.
    Complete,
    /// Not all of it yet; what has arrived is in the buffer.
    Pending,
}

/// A way to a TPM. Dropping it is `Finalize`. What is optional in a TCTI is an optional function here: `None` is
/// `NOT_IMPLEMENTED` in every state, as in the C modules.
pub trait Transport: Send + Sized + 'static {
    /// Sends one whole command; `command` has a valid header. A transport that lost its connection
    /// connects again here.
    fn send(&mut self, command: &[u8]) -> Result<()>;

    /// Adds to `rx` what has arrived of the response, waiting at most `wait` for the rest. Loses nothing:
    /// after `Pending` the next call goes on where this one stopped.
    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress>;

    /// The caller has collected the response. A transport that keeps nothing between commands lets go here, not
    /// earlier: until then the caller may still poll its descriptor.
    fn collected(&mut self) {}

    /// The exchange ended in an error: drop what is in flight, so that no late answer meets the next
    /// command. Called once after each failed `send` or `recv`, and when a response fails its checks.
    fn abandon(&mut self);

    /// This process was forked from the one that the transport belonged to, and shares with it what it holds. Let go of
    /// that without a word to the peer, whose answers are the other's; the next `send` opens what is needed anew. What
    /// cannot be opened twice stays, and the two take turns; what is in memory alone is two from here on.
    /// Called once in such a process, before anything else and before a drop.
    fn inherited(&mut self);

    /// Called first in every call but Finalize; an error is the answer of that call, whatever the state.
    fn available(&mut self) -> Result<()> {
        Ok(())
    }

    /// Cancels the command under way and sees to it that its answer reaches nobody.
    const CANCEL: Option<Cancel<Self>> = None;

    /// Sets the locality of later commands: 0 to 4, or 32 to 255 (TPM 2.0 Library Part 2, TPMA_LOCALITY).
    const SET_LOCALITY: Option<SetLocality<Self>> = None;

    /// The descriptors that become readable with the response; none where receive does not wait. Only the code counts
    /// while no response is awaited.
    const POLL_HANDLES: Option<GetPollHandles<Self>> = None;
}

/// A transport with contexts of its own in C. Whatever is [`Open`] is one; a transport that something else than a
/// configuration string opens implements this alone.
pub trait Module: Transport {
    /// Names the module in every context (`TSS2_TCTI_MAGIC`).
    const MAGIC: u64;
    /// Whether `Init(ctx, NULL, ...)` is accepted, as the C module of the same name does.
    const SIZE_OPTIONAL: bool = false;
}

impl<T: Open> Module for T {
    const MAGIC: u64 = <T as Open>::MAGIC;
    const SIZE_OPTIONAL: bool = <T as Open>::SIZE_OPTIONAL;
}

/// A transport that a C caller can open with a configuration string.
pub trait Open: Transport {
    /// Names the module in every context (`TSS2_TCTI_MAGIC`).
    const MAGIC: u64;
    /// Whether `Init(ctx, NULL, conf)` is accepted, as the C module of the same name does.
    const SIZE_OPTIONAL: bool = false;

    /// Parses the whole configuration string first, then does its I/O.
    fn open(conf: Conf<'_>) -> Result<Self>;
}
