// SPDX-License-Identifier: BSD-2-Clause
//! The C boundary, where all pointers from C are handled: [`init`] and [`init_with`] create a context, [`call`] enters one for
//! the functions that only one module has, [`origin`] tells contexts apart, [`calls`] excludes Finalize, [`Info`] is what `Tss2_Tcti_Info` returns, [`guard`] catches panics, and `reserve`
//! provides memory when malloc fails.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

pub mod calls;
mod context;
mod guard;
mod info;
mod init;
pub mod origin;
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
pub use reserve::without_reserve;
pub use thunks::call;
