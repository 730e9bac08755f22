// SPDX-License-Identifier: BSD-2-Clause
//! A property test with one of our sessions as the child.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use tcti_core::testing::exchange::{Peer, exchanges, follow_the_ideal, pair};

/// The other end of the child's socket, and a copy of the near end.
struct Ends {
    far: File,
    near: OwnedFd,
}

impl Peer for Ends {
    fn command(&mut self, size: usize) -> Vec<u8> {
        self.far.command(size)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.far.send(bytes);
    }

    /// Counts at the child's socket: the watched file descriptor is the child's epoll instance.
    fn unread(&self, _watched: RawFd) -> usize {
        self.far.unread(self.near.as_raw_fd())
    }
}

proptest! {
    #[test]
    fn any_exchange_matches_the_ideal_transport(exchanges in exchanges(6000)) {
        let (near, far) = pair();
        let mut ends = Ends { far, near: near.as_fd().try_clone_to_owned().unwrap() };
        let near = RefCell::new(Some(near));
        let open = move || near.take().map(Session::new).ok_or(ReturnCode::NO_CONNECTION.into());
        let dir = tempfile::tempdir().unwrap();
        let pcap = Pcap::new(open, Target::Chosen(dir.path().join("capture"))).unwrap();
        follow_the_ideal(&mut Session::new(pcap), &mut ends, &exchanges);
    }
}
