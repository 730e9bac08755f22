// SPDX-License-Identifier: BSD-2-Clause
//! What a module has to implement: [`Transport`], one command out and one response back, and [`Open`],
//! how a configuration string makes one, or [`Module`] where something else does. Everything else of a TCTI is `session` and `ffi`.

use crate::abi::TSS2_TCTI_CONTEXT;
use crate::conf::Conf;
use crate::deadline::Wait;
use crate::rx::RxBuf;
use crate::{Result, ReturnCode};
use std::os::fd::RawFd;

/// An entry for `poll(2)`.
pub type PollHandle = libc::pollfd;

/// A transport's cancel.
pub type Cancel<T> = fn(&mut T) -> Result<()>;
/// A transport's setLocality.
pub type SetLocality<T> = fn(&mut T, locality: u8) -> Result<()>;
/// A transport's getPollHandles.
pub type GetPollHandles<T> = fn(&mut T) -> Result<Vec<RawFd>>;

/// How far a receive came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The response is in the buffer, whole.
    Complete,
    /// Not all of it yet; what has arrived is in the buffer.
    Pending,
}

/// The exchange before this process's next one, on a connection that processes may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// A whole one of this process. All is as it left it.
    Mine,
    /// A whole one of another process.
    Anothers,
    /// One that failed or was given up, of this process or another, which may have died. What is left of it may still be
    /// on its way.
    BrokenOff,
}

/// What a forked process has of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inheritance {
    /// The connection, which the processes use in turns.
    Shared,
    /// Copies of descriptors that are the other process's to use: the connection is not shared, or the system denied what
    /// turns take. They are closed without a word to the peer, and the next `send` opens what it needs.
    Copies,
    /// Nothing: the host has closed the descriptors, and their numbers may be those of other files. They are neither used
    /// nor closed.
    Nothing,
}

/// Whether other processes have used the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// None has.
    Alone,
    /// They may go on with it.
    Shared,
}

/// A way to a TPM. Dropping it is the end of `Finalize`. What is optional in a TCTI is an optional function here: `None` is
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

    /// This process was forked from the one that the transport belonged to. The exchange under way, if there is one, and
    /// its response are that process's: forget them, and go on with what [`Inheritance`] leaves. What is in memory alone is
    /// two from here on. Called once in such a process, before anything else and before a drop.
    fn inherited(&mut self, inheritance: Inheritance);

    /// Whether a process that is forked goes on with what this transport holds; then the processes take turns, one
    /// exchange each. Asked once, when the context opens.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether the connection that processes share was replaced by one that this process alone has, since this was asked
    /// last, after `send` or `recv`. From then on it takes turns with the processes that are forked later, and no more with
    /// those that have the one before: what one of them leaves behind on that is not on this one.
    fn has_parted(&mut self) -> bool {
        false
    }

    /// Called before `send` unless the exchange before was this process's and whole; see [`Before`]. Sees to it that
    /// nothing is left of it on its way, keeping the connection where that is certain.
    fn resume(&mut self, _before: Before) -> Result<()> {
        Ok(())
    }

    /// Finalize, before the drop. Not called while another process has its turn, nor in one that was forked and never
    /// used the connection: then nothing may be said to the peer, and dropping only closes descriptors.
    fn close(&mut self, _company: Company) {}

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
    /// Tells its contexts from those of other modules of ours.
    const IDENTITY: u64 = Self::MAGIC;
    /// Whether `Init(ctx, NULL, ...)` is accepted, as the C module of the same name does.
    const SIZE_OPTIONAL: bool = false;
    /// What `Init` answers when the caller's memory is too small.
    const TOO_SMALL: ReturnCode = ReturnCode::BAD_VALUE;
    /// Where its contexts show the context of another module that they wrap.
    const WRAPPED: Option<Wrapped<Self>> = None;
}

/// A place in a context for a pointer to the context that it wraps, where programs look for it that know the structure
/// of the C module.
pub struct Wrapped<T> {
    /// In bytes, behind the head and the pointer that follows it; aligned to a pointer, and the last of the context.
    pub offset: usize,
    /// What to show there after each call; NULL when there is nothing.
    pub context: fn(&T) -> *mut TSS2_TCTI_CONTEXT,
}

impl<T: Open> Module for T {
    const MAGIC: u64 = <T as Open>::MAGIC;
    const IDENTITY: u64 = <T as Open>::IDENTITY;
    const SIZE_OPTIONAL: bool = <T as Open>::SIZE_OPTIONAL;
    const TOO_SMALL: ReturnCode = <T as Open>::TOO_SMALL;
    const WRAPPED: Option<Wrapped<Self>> = <T as Open>::WRAPPED;
}

/// A transport that a C caller can open with a configuration string.
pub trait Open: Transport {
    /// Names the module in every context (`TSS2_TCTI_MAGIC`).
    const MAGIC: u64;
    /// Tells its contexts from those of other modules of ours. To be set where those share the magic.
    const IDENTITY: u64 = Self::MAGIC;
    /// Whether `Init(ctx, NULL, conf)` is accepted, as the C module of the same name does.
    const SIZE_OPTIONAL: bool = false;
    /// What `Init` answers when the caller's memory is too small.
    const TOO_SMALL: ReturnCode = ReturnCode::BAD_VALUE;
    /// Where its contexts show the context of another module that they wrap.
    const WRAPPED: Option<Wrapped<Self>> = None;

    /// Parses the whole configuration string first, then does its I/O.
    fn open(conf: Conf<'_>) -> Result<Self>;
}
