// SPDX-License-Identifier: BSD-2-Clause
//! The TPM on a LetsTrust-TPM2Go, a USB stick: [`Tpm2Go`]. The bus is in [`bridge`], the stick as libusb has it in
//! `stick`, which one is meant in [`search`], and which context has it in `lease`.

pub mod bridge;
mod lease;
pub mod posix_regex;
pub mod search;
mod stick;

use bridge::Bridge;
use search::Search;
use tcti_tis::Tis;

/// The TPM of a stick.
pub type Tpm2Go = Tis<Bridge<Search>>;
