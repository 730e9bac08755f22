// SPDX-License-Identifier: BSD-2-Clause
//! The commands for a TPM under load ([`Ask`]), the checks of its responses ([`Knowledge`]) and of its loaded objects
//! ([`Loaded`]), and the faults that explain failures of other programs ([`Trouble`]) and of forked processes
//! ([`History`]). The program `soak` makes the load.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "an unexpected failure ends the program")]

mod ask;
mod history;
mod key;
mod knowledge;
mod loaded;
mod message;
mod trouble;

pub use ask::{Absent, Answer, Ask, Content};
pub use history::{Cost, Finding, History, Kind, TRIES};
pub use key::hmac;
pub use knowledge::{Knowledge, May, Verdict};
pub use loaded::Loaded;
pub use trouble::Trouble;
