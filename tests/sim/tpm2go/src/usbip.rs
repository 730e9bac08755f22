// SPDX-License-Identifier: BSD-2-Clause
//! The device side of USB/IP (Linux, Documentation/usb/usbip_protocol.rst) after a device was attached: the kernel
//! submits and unlinks URBs over a stream socket. [`Link`] is the socket; the other modules do no I/O.
#![forbid(unsafe_code)]

mod link;
mod responder;
mod wire;

pub use link::Link;
pub use responder::Responder;
pub use wire::Malformed;
