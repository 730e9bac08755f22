// SPDX-License-Identifier: BSD-2-Clause
//! The interface of an open TCTI to its caller: [`Tcti`].
#![forbid(unsafe_code)]

use crate::deadline::Wait;
use crate::session::{Received, Session};
use crate::transport::{PollHandle, Transport};
use crate::{Result, ReturnCode};

/// The calls of a TCTI (TCG "TSS 2.0 TCTI API", section 3.3). The TCTI checks its own states and returns its own codes.
/// Dropping it finalizes it.
pub trait Tcti {
    /// Sends a command.
    fn transmit(&mut self, command: &[u8]) -> Result<()>;
    /// Returns the size of the response in bytes; the response stays.
    fn response_size(&mut self, wait: Wait) -> Result<usize>;
    /// Moves the response into `buffer` and returns its size in bytes. Fails with `INSUFFICIENT_BUFFER` if it does not fit; the
    /// response stays.
    fn receive(&mut self, buffer: &mut [u8], wait: Wait) -> Result<usize>;
    /// Cancels the command in progress.
    fn cancel(&mut self) -> Result<()>;
    /// Sets the locality of later commands.
    fn set_locality(&mut self, locality: u8) -> Result<()>;
    /// Passes the entries for `poll(2)` that wait for the response to `each`.
    fn poll_handles(&mut self, each: &mut dyn FnMut(PollHandle)) -> Result<()>;
}

/// Makes the same calls as the C boundary.
impl<T: Transport> Tcti for Session<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.enter()?.transmit(command)
    }

    fn response_size(&mut self, wait: Wait) -> Result<usize> {
        match self.enter()?.receive(None, wait)? {
            Received::Size(size) | Received::TooLarge(size) => Ok(size),
            Received::Response(response) => Ok(response.len()),
        }
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Wait) -> Result<usize> {
        match self.enter()?.receive(Some(buffer.len()), wait)? {
            Received::Size(_) | Received::TooLarge(_) => Err(ReturnCode::INSUFFICIENT_BUFFER.into()),
            Received::Response(response) => {
                let size = response.len();
                buffer.get_mut(..size).ok_or(ReturnCode::INSUFFICIENT_BUFFER)?.copy_from_slice(response);
                self.leave();
                Ok(size)
            }
        }
    }

    fn cancel(&mut self) -> Result<()> {
        self.enter()?.cancel()
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.enter()?.set_locality(locality)
    }

    fn poll_handles(&mut self, each: &mut dyn FnMut(PollHandle)) -> Result<()> {
        self.enter()?.poll_handle().map(each)
    }
}
