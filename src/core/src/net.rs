// SPDX-License-Identifier: BSD-2-Clause
//! Sockets as the simulators use them: where to connect ([`endpoint`]), the two places a simulator has ([`channels`]) and
//! the connection itself ([`stream`]), which may be kept unless there are [`heirs`]; [`local`] asks whether there is one.

pub mod channels;
pub mod endpoint;
mod heirs;
pub mod local;
pub mod stream;

pub use channels::Channels;
pub use endpoint::Endpoint;
pub use stream::{Arrival, Stream};
