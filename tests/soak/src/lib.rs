// SPDX-License-Identifier: BSD-2-Clause
//! What is asked of a TPM under load ([`Ask`]), how an answer is known to be the right one ([`Knowledge`]), what must
//! still be loaded ([`Loaded`]), and which failures a fault explains: of programs ([`Trouble`]) and of forked processes
//! ([`History`]). The load itself is the program `soak`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what it cannot do ends the program")]

mod ask;
mod history;
mod key;
mod knowledge;
mod loaded;
mod message;
mod trouble;

pub use ask::{Absent, Answer, Ask, News};
pub use history::{Cost, Finding, History, Kind, TRIES};
pub use key::hmac;
pub use knowledge::{Knowledge, May, Verdict};
pub use loaded::Loaded;
pub use trouble::Trouble;
