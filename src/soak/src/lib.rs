// SPDX-License-Identifier: BSD-2-Clause
//! What is asked of a TPM under load ([`Ask`]), and how an answer is known to be the right one ([`Knowledge`]). The load
//! itself is the program `soak`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what it cannot do ends the program")]

mod ask;
mod knowledge;
mod message;

pub use ask::{Answer, Ask, News};
pub use knowledge::Knowledge;
