// SPDX-License-Identifier: BSD-2-Clause
//! Sockets as the simulators use them: where to connect ([`endpoint`]) and the connection itself ([`stream`]).

pub mod endpoint;
pub mod stream;

pub use endpoint::{Channels, Endpoint};
pub use stream::Stream;
