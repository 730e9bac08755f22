// SPDX-License-Identifier: BSD-2-Clause
//! A property test with one of our sessions as the child.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use tcti_core::testing::exchange::{exchanges, follow_the_ideal, pair};

proptest! {
    #[test]
    fn any_exchange_matches_the_ideal_transport(exchanges in exchanges(6000)) {
        let (near, mut far) = pair();
        let near = RefCell::new(Some(near));
        let open = move || near.take().map(Session::new).ok_or(ReturnCode::NO_CONNECTION.into());
        let dir = tempfile::tempdir().unwrap();
        let pcap = Pcap::new(open, Target::Chosen(dir.path().join("capture"))).unwrap();
        follow_the_ideal(&mut Session::new(pcap), &mut far, &exchanges);
    }
}
