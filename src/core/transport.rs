// SPDX-License-Identifier: BSD-2-Clause
//! The traits that a TCTI implements: [`Transport`] sends one command and receives one response, [`Module`] identifies its
//! contexts in C, and [`Open`] opens it with a configuration string. `session` and the crate `tcti-ffi` add the rest of a TCTI.
#![forbid(unsafe_code)]

use crate::abi::TSS2_TCTI_CONTEXT;
use crate::conf::Conf;
use crate::deadline::Wait;
use crate::error::Result;
use crate::return_code::ReturnCode;
use crate::rx::RxBuf;
use std::os::fd::RawFd;

/// An entry for `poll(2)`.
pub type PollHandle = libc::pollfd;

/// The type of [`Transport::CANCEL`].
pub type Cancel<T> = fn(&mut T) -> Result<()>;
/// The type of [`Transport::SET_LOCALITY`].
pub type SetLocality<T> = fn(&mut T, locality: u8) -> Result<()>;
/// The type of [`Transport::POLL_HANDLES`].
pub type GetPollHandles<T> = fn(&mut T, watch: &mut dyn FnMut(RawFd)) -> Result<()>;

/// How much of a response has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The whole response is in the buffer.
    Complete,
    /// Part of it is still missing; the bytes that have arrived are in the buffer.
    Pending,
}

/// How the last exchange on a connection ended. Forked processes may share the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastExchange {
    /// It was this process's, and complete: the connection is as this process left it.
    Ours,
    /// It was another process's, and complete.
    Theirs,
    /// It failed or was abandoned, by this process or by another one, which may have died. Some of its bytes may still be
    /// in flight.
    Interrupted,
}

/// How much of a connection a forked process inherits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inheritance {
    /// The connection itself, which the processes use in turns.
    Shared,
    /// Copies of file descriptors that belong to the parent: the connection is not shared, or the system denied what
    /// taking turns needs, or the host has closed file descriptors. They are closed without sending anything to the peer,
    /// and the next `send` connects again.
    Copies,
}

/// Whether other processes have used the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Only this process has.
    Exclusive,
    /// Other processes have, and may continue to use it.
    Shared,
}

/// Exchanges commands and responses with a TPM. The functions that are optional in a TCTI are optional constants here: `None` returns
/// `NOT_IMPLEMENTED` in every state, as in the C modules. Dropping a transport closes its file descriptors.
pub trait Transport: Send + Sized + 'static {
    /// Sends one whole command, whose header is valid. A transport that has lost its connection connects again here.
    fn send(&mut self, command: &[u8]) -> Result<()>;

    /// Adds the bytes of the response that have arrived to `rx`, and waits for the rest for at most `wait`. Loses no byte:
    /// after `Pending` the next call continues where this one stopped. A transport that keeps no connection between commands
    /// releases it once the response is complete.
    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress>;

    /// Called once after an exchange has failed, in `send`, in `recv` or because its response is malformed. Drops what is
    /// in flight, so that a late response never meets the next command.
    fn abandon(&mut self);

    /// Called once in a process that was forked from the owner of the transport, before any other call and before a drop.
    /// The exchange in progress, if there is one, and its response belong to the parent: the transport forgets them and
    /// continues with what [`Inheritance`] leaves. State that is only in memory is duplicated by the fork.
    fn after_fork(&mut self, inheritance: Inheritance);

    /// Returns whether forked processes share this transport's connection and must take turns on it, one exchange each.
    /// Called once, when the context opens.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns whether the shared connection was replaced by one of this process alone since the last call. Called after
    /// `send` and `recv`. From then on this process takes turns only with processes that are forked later.
    fn took_own_connection(&mut self) -> bool {
        false
    }

    /// Called before `send` unless the last exchange was this process's and complete. Makes sure that no byte of it is in
    /// flight, and keeps the connection where that is certain.
    fn resume(&mut self, _last: LastExchange) -> Result<()> {
        Ok(())
    }

    /// Called by Finalize, before the drop. On a shared connection it is not called while another process has its turn, nor
    /// in a forked process that has never used the connection: then the peer must not be told anything.
    fn close(&mut self, _sharing: Sharing) {}

    /// Drops a connection whose file descriptor the host has closed, and returns whether it did. Called before a call
    /// uses the connection, and in Finalize: the number may belong to another file, which must be neither used nor closed ([`Kept`]).
    ///
    /// [`Kept`]: crate::kept::Kept
    fn drop_closed(&mut self) -> bool {
        false
    }

    /// Called next in every call but Finalize; an error is the result of that call, in every state.
    fn available(&mut self) -> Result<()> {
        Ok(())
    }

    /// Cancels the command in progress and makes sure that its response is never delivered.
    const CANCEL: Option<Cancel<Self>> = None;

    /// Sets the locality of later commands: 0 to 4, or 32 to 255 (TPM 2.0 Library Part 2, TPMA_LOCALITY).
    const SET_LOCALITY: Option<SetLocality<Self>> = None;

    /// Passes the file descriptors that become readable when the response arrives to `watch`; none if `recv` never waits. The
    /// session polls them for the caller and stops before the next call that may close them.
    const POLL_HANDLES: Option<GetPollHandles<Self>> = None;
}

/// A transport that C programs use through contexts.
pub trait Module: Transport {
    /// Identifies the module in every context (`TSS2_TCTI_MAGIC`).
    const MAGIC: u64;
    /// Whether `Init(ctx, NULL, ...)` is accepted, as the C module of the same name does.
    const SIZE_OPTIONAL: bool = false;
    /// The code that `Init` returns when the caller's memory is too small.
    const TOO_SMALL: ReturnCode = ReturnCode::BAD_VALUE;
    /// Where a context exposes the context of another module that it wraps.
    const WRAPPED: Option<Wrapped<Self>> = None;
}

/// The field of a context with a pointer to the context that it wraps. Programs that know the structure of the C module look
/// for it there.
pub struct Wrapped<T> {
    /// In bytes from the start of the context: after all other fields, and aligned for a pointer.
    pub offset: usize,
    /// Returns the pointer to store after each call; NULL without a wrapped context.
    pub context: fn(&T) -> *mut TSS2_TCTI_CONTEXT,
}

/// A module that is opened with a configuration string. A module that is opened with a structure of the caller implements only
/// [`Module`], see `src/spi-helper`.
pub trait Open: Module {
    /// Opens the module. Parses the whole configuration string before any I/O.
    fn open(conf: Conf<'_>) -> Result<Self>;
}
