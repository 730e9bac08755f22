// SPDX-License-Identifier: BSD-2-Clause
//! An open TCTI as its caller sees it: [`Tcti`].
#![forbid(unsafe_code)]

use crate::deadline::Wait;
use crate::session::{Received, Session};
use crate::transport::{PollHandle, Transport};
use crate::{Result, ReturnCode};

/// The calls of a TCTI (TCG "TSS 2.0 TCTI API", section 3.3), with its own states and its own codes. Dropping it is
/// Finalize.
pub trait Tcti {
    /// Sends a command.
    fn transmit(&mut self, command: &[u8]) -> Result<()>;
    /// Returns the size of the response in bytes; the response stays.
    fn response_size(&mut self, wait: Wait) -> Result<usize>;
    /// Moves the response into `room` and returns its size in bytes.
    fn receive(&mut self, room: &mut [u8], wait: Wait) -> Result<usize>;
    /// Cancels the command in progress.
    fn cancel(&mut self) -> Result<()>;
    /// Sets the locality of later commands.
    fn set_locality(&mut self, locality: u8) -> Result<()>;
    /// Returns what to pass to `poll(2)` to wait for the response.
    fn poll_handles(&mut self) -> Result<Vec<PollHandle>>;
}

/// As the C boundary calls it.
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

    fn receive(&mut self, room: &mut [u8], wait: Wait) -> Result<usize> {
        match self.enter()?.receive(Some(room.len()), wait)? {
            Received::Size(_) | Received::TooLarge(_) => Err(ReturnCode::INSUFFICIENT_BUFFER.into()),
            Received::Response(response) => {
                let room = room.get_mut(..response.len()).ok_or(ReturnCode::INSUFFICIENT_BUFFER)?;
                room.copy_from_slice(response);
                Ok(response.len())
            }
        }
    }

    fn cancel(&mut self) -> Result<()> {
        self.enter()?.cancel()
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.enter()?.set_locality(locality)
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.enter()?.poll_handles()
    }
}
