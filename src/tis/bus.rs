// SPDX-License-Identifier: BSD-2-Clause
//! What a module has to bring: a [`Bus`] that shifts bytes, with a clock. All else is [`Tis`](crate::Tis).

use crate::clock::Clock;
use tcti_core::{Conf, Inheritance, Result};

/// How long the TPM stays selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChipSelect {
    /// During one transfer. Header and data go in one, and the TPM must insert no wait states.
    PerTransfer,
    /// From `select` to `deselect`. Wait states are honoured.
    Held,
}

/// Bytes that go out and in at once. There are 1 to 68 of them; where both are present they are as many.
pub struct Transfer<'a> {
    /// What goes out; `None`: it does not matter, zeroes will do.
    pub out: Option<&'a [u8]>,
    /// Where what comes in is put; `None`: nobody wants it.
    pub into: Option<&'a mut [u8]>,
    /// Whether this is the last transfer of its transaction, after which the TPM may be deselected.
    pub last: bool,
}

impl Transfer<'_> {
    /// How many bytes are shifted.
    pub fn len(&self) -> usize {
        let into = self.into.as_ref().map_or(0, |bytes| bytes.len());
        self.out.map_or(into, <[u8]>::len)
    }

    /// Whether nothing is shifted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A SPI bus with a TPM at its end: mode 0, most significant bit first. An error is logged where it is known and ends
/// the command; `IO_ERROR` is the usual one.
pub trait Bus: Send + 'static {
    /// Whether a forked process talks over the same bus, see [`Transport::is_shared`](tcti_core::Transport::is_shared).
    const SHARED_BY_FORK: bool = true;

    /// Shifts bytes. With [`ChipSelect::PerTransfer`] this is a whole transaction: a header of 4 bytes and up to 64
    /// bytes of data.
    fn transfer(&mut self, transfer: Transfer<'_>) -> Result<()>;

    /// Times the waits.
    fn clock(&mut self) -> &mut dyn Clock;

    /// How long the TPM stays selected; the same during the life of the bus.
    fn chip_select(&self) -> ChipSelect {
        ChipSelect::PerTransfer
    }

    /// A command begins. A bus that lost its device looks for it; the answer is whether it has another one now, or the
    /// same one after a loss of power, which has to be claimed anew. A bus without its device fails every transfer.
    fn begin(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// This process was forked from the one that the bus belonged to. Nothing is to be done for a bus that both use; one
    /// that is not shared lets go of it here, without ending it for the other.
    fn after_fork(&mut self, _inheritance: Inheritance) {}

    /// The command failed. What is left of it on its way is dropped, so that it meets no other.
    fn abandon(&mut self) {}

    /// The command is over: its response is whole, or it failed. Also called when the TPM was claimed at the start.
    fn end(&mut self) {}

    /// Begins a transaction: from now on the TPM is selected. Only called with [`ChipSelect::Held`].
    fn select(&mut self) -> Result<()> {
        Ok(())
    }

    /// Ends a transaction. Called after each `select` that succeeded, also when a transfer failed.
    fn deselect(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A bus that a configuration string opens.
pub trait OpenBus: Bus + Sized {
    /// Parses the whole configuration string first, then does its I/O.
    fn open(conf: Conf<'_>) -> Result<Self>;
}
