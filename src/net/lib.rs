// SPDX-License-Identifier: BSD-2-Clause
//! Sockets as the simulators use them: where to connect ([`endpoint`]), the two places a simulator has ([`channels`]) and
//! the connection itself ([`stream`]), which may be kept unless there are [`heirs`].

pub mod channels;
pub mod endpoint;
mod heirs;
pub mod stream;
mod sys;

pub use channels::Channels;
pub use endpoint::Endpoint;
pub use stream::Stream;
