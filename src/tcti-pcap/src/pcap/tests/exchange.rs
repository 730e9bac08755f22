// SPDX-License-Identifier: BSD-2-Clause
//! Any exchange, around a TCTI as ours are.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use tcti_core::testing::exchange::{Near, exchanges, follow_the_ideal, pair};

impl Child for Session<Near> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        Session::transmit(self, command)
    }

    fn response_size(&mut self, wait: Wait) -> Result<usize> {
        match Session::receive(self, None, wait)? {
            Received::Size(size) => Ok(size),
            other => panic!("{other:?}"),
        }
    }

    fn receive(&mut self, room: &mut [u8], wait: Wait) -> Result<usize> {
        match Session::receive(self, Some(room.len()), wait)? {
            Received::Response(response) => {
                room[..response.len()].copy_from_slice(response);
                Ok(response.len())
            }
            _ => Err(Rc::INSUFFICIENT_BUFFER),
        }
    }

    fn cancel(&mut self) -> Result<()> {
        Session::cancel(self)
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        Session::set_locality(self, locality)
    }

    fn poll_handles(&self) -> Result<Vec<PollHandle>> {
        Session::poll_handles(self)
    }
}

proptest! {
    #[test]
    fn any_exchange_is_as_an_ideal_transport_has_it(exchanges in exchanges(6000)) {
        let (near, mut far) = pair();
        let near = RefCell::new(Some(near));
        let open = move || near.take().map(Session::new).ok_or(Rc::NO_CONNECTION);
        let dir = tempfile::tempdir().unwrap();
        let pcap = Pcap::new(open, Target::Chosen(dir.path().join("capture"))).unwrap();
        follow_the_ideal(&mut Session::new(pcap), &mut far, &exchanges);
    }
}
