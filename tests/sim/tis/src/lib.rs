// SPDX-License-Identifier: BSD-2-Clause
//! A TPM on a SPI bus, register by register, for tests. [`Sim`] is the bus and the TPM's interface; any [`Tpm`]
//! answers the commands; [`Faults`] says what goes wrong. It notes whatever a driver does that it should not.

mod faults;
mod machine;
mod spi;
pub mod sys;
mod tpm;

pub use faults::{Death, Faults};
pub use spi::{BusError, Sim};
pub use tpm::{Chip, Tpm};
