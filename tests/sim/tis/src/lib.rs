// SPDX-License-Identifier: BSD-2-Clause
//! A TPM on an SPI bus, simulated at the level of registers, for tests. [`Sim`] is the bus with the TPM's interface;
//! any [`CommandProcessor`] executes the commands; [`Faults`] sets what goes wrong. The simulator records each
//! violation of the protocol by the driver.

mod faults;
mod machine;
mod spi;
pub mod sys;
mod tpm;

pub use faults::{Death, Faults};
pub use spi::{BusError, Sim};
pub use tpm::{CommandProcessor, TctiTpm};
