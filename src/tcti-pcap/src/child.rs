// SPDX-License-Identifier: BSD-2-Clause
//! What is asked of the TCTI that is recorded, so that tests can put another one in its place.
#![forbid(unsafe_code)]

use tcti_core::{PollHandle, Result, Wait};

/// An open TCTI, with its own states. Errors are its own codes.
pub(crate) trait Child: Send + Sized + 'static {
    /// Sends a command.
    fn transmit(&mut self, command: &[u8]) -> Result<()>;
    /// The size of the response, in bytes; it stays.
    fn response_size(&mut self, wait: Wait) -> Result<usize>;
    /// Collects the response into `room` and gives its size in bytes.
    fn receive(&mut self, room: &mut [u8], wait: Wait) -> Result<usize>;
    /// Cancels the command under way.
    fn cancel(&mut self) -> Result<()>;
    /// Sets the locality of later commands.
    fn set_locality(&mut self, locality: u8) -> Result<()>;
    /// What to poll for the response.
    fn poll_handles(&self) -> Result<Vec<PollHandle>>;
}

impl Child for tcti_loader::Child {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        tcti_loader::Child::transmit(self, command)
    }

    fn response_size(&mut self, wait: Wait) -> Result<usize> {
        tcti_loader::Child::response_size(self, wait)
    }

    fn receive(&mut self, room: &mut [u8], wait: Wait) -> Result<usize> {
        tcti_loader::Child::receive(self, room, wait)
    }

    fn cancel(&mut self) -> Result<()> {
        tcti_loader::Child::cancel(self)
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        tcti_loader::Child::set_locality(self, locality)
    }

    fn poll_handles(&self) -> Result<Vec<PollHandle>> {
        tcti_loader::Child::poll_handles(self)
    }
}
