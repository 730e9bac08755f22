// SPDX-License-Identifier: BSD-2-Clause
//! What is asked of a TPM under load ([`Ask`]), how an answer is known to be the right one ([`Knowledge`]), and which
//! failures beside it a fault explains ([`Trouble`]). The load itself is the program `soak`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what it cannot do ends the program")]

mod ask;
mod knowledge;
mod message;
mod trouble;

pub use ask::{Answer, Ask, News};
pub use knowledge::Knowledge;
pub use trouble::Trouble;
