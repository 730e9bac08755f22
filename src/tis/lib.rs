// SPDX-License-Identifier: BSD-2-Clause
//! The transport [`Tis`] for a TPM on an SPI bus: registers and FIFO of the TCG "PC Client Platform TPM Profile for TPM 2.0"
//! (PTP). A module implements [`Bus`]; [`Tis`] does the rest.
#![forbid(unsafe_code)]

mod bus;
mod clock;
mod fifo;
mod frame;
mod locality;
mod registers;
#[cfg(test)]
mod tests;
mod tis;

pub use bus::{Bus, ChipSelect, OpenBus, Transfer};
pub use clock::{Clock, SystemClock};
pub use frame::{HEADER_SIZE, MAX_DATA};
pub use tis::{MAGIC, Tis};
