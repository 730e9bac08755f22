// SPDX-License-Identifier: BSD-2-Clause
//! The code that all TCTI modules share. A [`Transport`] sends one command and receives one response; a [`Session`] adds
//! the states and checks of a TCTI; the crate `tcti-ffi` adds C memory and the table of functions.

#[cfg(panic = "abort")]
compile_error!("build with panic = \"unwind\": a panic must be caught at the C boundary, not end the host process");

pub mod abi;
pub mod conf;
pub mod deadline;
mod error;
mod generation;
pub mod header;
pub mod io;
pub mod kept;
pub mod log;
pub mod own_file;
mod poll_set;
pub mod return_code;
pub mod rx;
pub mod session;
mod sys;
mod tcti;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;
pub mod turns;
pub mod visible;

pub use conf::Conf;
pub use deadline::{Deadline, Wait};
pub use error::{Error, Result};
pub use generation::Generation;
pub use return_code::ReturnCode;
pub use rx::RxBuf;
pub use session::Session;
pub use tcti::Tcti;
pub use transport::{
    Cancel, GetPollHandles, Inheritance, LastExchange, Module, Open, PollHandle, Progress, SetLocality, Sharing,
    Transport, Wrapped,
};
