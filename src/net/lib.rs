// SPDX-License-Identifier: BSD-2-Clause
//! Sockets as the simulators use them: where to connect ([`endpoint`]), the two places a simulator has ([`channels`]) and
//! the connection itself ([`stream`]), which may be kept unless there are [`descendants`].

pub mod channels;
mod descendants;
pub mod endpoint;
pub mod stream;
mod sys;

pub use channels::Channels;
pub use endpoint::Endpoint;
pub use stream::Stream;
