// SPDX-License-Identifier: BSD-2-Clause
//! The C boundary: the only place where pointers from C are touched. [`init`] and [`init_with`] make a context,
//! [`call`] enters one for a module's own functions, [`Info`] is what `Tss2_Tcti_Info` returns, [`guard`] stops panics,
//! and `reserve` has memory where malloc has none.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

mod context;
mod guard;
mod info;
mod init;
mod reserve;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
mod thunks;

pub use context::CONTEXT_SIZE;
pub use guard::{guard, guard_end};
pub use info::Info;
pub use init::{init, init_with};
pub use reserve::lasting;
pub use thunks::call;
