// SPDX-License-Identifier: BSD-2-Clause
//! Socket connections to TPM simulators: the address to connect to ([`endpoint`]), the two channels of a simulator
//! ([`channels`]), and the connection itself ([`stream`]), which may be kept open unless a process was forked (`descendants`).

pub mod channels;
mod descendants;
pub mod endpoint;
pub mod stream;
mod sys;

pub use channels::Channels;
pub use endpoint::Endpoint;
pub use stream::Stream;
