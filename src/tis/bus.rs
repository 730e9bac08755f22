// SPDX-License-Identifier: BSD-2-Clause
//! The trait that a module implements: a [`Bus`] that shifts bytes, with a clock. [`Tis`](crate::Tis) does the rest.

use crate::clock::Clock;
use tcti_core::{Conf, Inheritance, Result};

/// How long the TPM stays selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChipSelect {
    /// During one transfer. Header and data are one transfer, and the TPM must not insert wait states.
    PerTransfer,
    /// From `select` to `deselect`. Wait states are honoured.
    Held,
}

/// A full-duplex transfer of 1 to 68 bytes. If both buffers are present, they have the same length.
pub struct Transfer<'a> {
    /// The bytes to send; `None` sends any bytes, such as zeroes.
    pub out: Option<&'a [u8]>,
    /// The buffer for received bytes; `None` drops them.
    pub into: Option<&'a mut [u8]>,
    /// Whether this is the last transfer of its transaction, after which the TPM may be deselected.
    pub last: bool,
}

impl Transfer<'_> {
    /// Returns the number of bytes that are shifted.
    pub fn len(&self) -> usize {
        let into = self.into.as_ref().map_or(0, |bytes| bytes.len());
        self.out.map_or(into, <[u8]>::len)
    }

    /// Returns whether no bytes are shifted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An SPI bus with a TPM: mode 0, most significant bit first. An error ends the command; `IO_ERROR` is the usual one.
pub trait Bus: Send + 'static {
    /// Whether a forked process uses the same bus, see [`Transport::is_shared`](tcti_core::Transport::is_shared).
    const SHARED_BY_FORK: bool = true;

    /// Shifts bytes. With [`ChipSelect::PerTransfer`] this is a whole transaction: a header of 4 bytes and up to 64
    /// bytes of data.
    fn transfer(&mut self, transfer: Transfer<'_>) -> Result<()>;

    /// Returns the clock for all waits.
    fn clock(&mut self) -> &mut dyn Clock;

    /// Returns how long the TPM stays selected; constant for the lifetime of the bus.
    fn chip_select(&self) -> ChipSelect {
        ChipSelect::PerTransfer
    }

    /// Called before each command. A bus that has lost its device opens it again, and returns whether it did: the TPM may
    /// have lost power, and its locality has to be claimed again. A bus without its device fails every transfer.
    fn begin_command(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Called in a process that was forked from the owner of the bus. A bus that both use needs nothing; one that is not
    /// shared releases its device here, without closing it for the parent.
    fn after_fork(&mut self, _inheritance: Inheritance) {}

    /// Drops a device whose file descriptor the host has closed, and returns whether it did, see
    /// [`Transport::drop_closed`](tcti_core::Transport::drop_closed).
    fn drop_closed(&mut self) -> bool {
        false
    }

    /// Called when a command has failed. Drops bytes in flight, so that they are not taken for those of a later command.
    fn abandon(&mut self) {}

    /// Called when a command is over: its response is complete, or it has failed. Also called after the TPM was claimed at
    /// the start.
    fn end_command(&mut self) {}

    /// Begins a transaction: selects the TPM. Only called with [`ChipSelect::Held`].
    fn select(&mut self) -> Result<()> {
        Ok(())
    }

    /// Ends a transaction: deselects the TPM. Called after each `select` that succeeded, even if a transfer has failed.
    fn deselect(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A bus that a configuration string opens.
pub trait OpenBus: Bus + Sized {
    /// Parses the whole configuration string first, then does its I/O.
    fn open(conf: Conf<'_>) -> Result<Self>;
}
