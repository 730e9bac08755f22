// SPDX-License-Identifier: BSD-2-Clause
//! A context, whether a loaded library made it or it is a session in this program.

use tcti_core::session::Received;
use tcti_core::{PollHandle, Rc, Result, Session, Transport, Wait};
use tcti_loader::Child;

/// The calls of a TCTI. Dropping it is Finalize.
pub(crate) trait Tcti {
    fn transmit(&mut self, command: &[u8]) -> Result<()>;
    fn response_size(&mut self, wait: Wait) -> Result<usize>;
    fn receive(&mut self, room: &mut [u8], wait: Wait) -> Result<usize>;
    fn cancel(&mut self) -> Result<()>;
    fn set_locality(&mut self, locality: u8) -> Result<()>;
    fn poll_handles(&mut self) -> Result<Vec<PollHandle>>;
}

impl Tcti for Child {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        Child::transmit(self, command)
    }

    fn response_size(&mut self, wait: Wait) -> Result<usize> {
        Child::response_size(self, wait)
    }

    fn receive(&mut self, room: &mut [u8], wait: Wait) -> Result<usize> {
        Child::receive(self, room, wait)
    }

    fn cancel(&mut self) -> Result<()> {
        Child::cancel(self)
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        Child::set_locality(self, locality)
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        Child::poll_handles(self)
    }
}

/// As `ffi` makes them for C.
impl<T: Transport> Tcti for Session<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.enter()?;
        Session::transmit(self, command)
    }

    fn response_size(&mut self, wait: Wait) -> Result<usize> {
        self.enter()?;
        match Session::receive(self, None, wait)? {
            Received::Size(size) | Received::TooLarge(size) => Ok(size),
            Received::Response(response) => Ok(response.len()),
        }
    }

    fn receive(&mut self, room: &mut [u8], wait: Wait) -> Result<usize> {
        self.enter()?;
        match Session::receive(self, Some(room.len()), wait)? {
            Received::Size(_) | Received::TooLarge(_) => Err(Rc::INSUFFICIENT_BUFFER),
            Received::Response(response) => {
                room[..response.len()].copy_from_slice(response);
                Ok(response.len())
            }
        }
    }

    fn cancel(&mut self) -> Result<()> {
        self.enter()?;
        Session::cancel(self)
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.enter()?;
        Session::set_locality(self, locality)
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.enter()?;
        Session::poll_handles(self)
    }
}
