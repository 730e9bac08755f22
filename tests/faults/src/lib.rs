// SPDX-License-Identifier: BSD-2-Clause
//! The faults of a connection to a TPM, for all tests that need them: a [`Fault`] affects one exchange. It is a list of
//! [`Step`]s that the other end takes instead of sending the response. A [`Peer`] serves a channel and plays faults,
//! on TCP, Unix sockets and pseudo-terminals ([`Stream`]), in each [`Framing`]. The reliability tests enumerate faults,
//! the soak draws them at random, and the fuzzers decode them from bytes (feature `arbitrary`).
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod armed;
mod fault;
mod framing;
mod peer;
mod stream;

pub use armed::Armed;
pub use fault::{Action, End, Fault, Response, Step};
pub use framing::Framing;
pub use peer::{Peer, Respond};
pub use stream::{Listener, Stream, Terminal, loopback, readable};
