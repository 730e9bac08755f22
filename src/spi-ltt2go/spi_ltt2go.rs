// SPDX-License-Identifier: BSD-2-Clause
//! The TPM on a LetsTrust-TPM2Go, a USB stick: [`Tpm2Go`]. [`bridge`] is the bus, `stick` calls libusb, [`search`] finds
//! the stick, and `lease` passes it between the contexts of a process.

pub mod bridge;
mod lease;
pub mod pattern;
pub mod search;
mod stick;

use bridge::Bridge;
use search::Search;
use tcti_tis::Tis;

/// The TPM of a stick.
pub type Tpm2Go = Tis<Bridge<Search>>;
