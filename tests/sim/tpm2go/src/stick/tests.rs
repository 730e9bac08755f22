// SPDX-License-Identifier: BSD-2-Clause
//! The stick from the point of view of a driver.

use super::*;

const READ_DID_VID: [u8; 8] = [0x83, 0xd4, 0x0f, 0x00, 0, 0, 0, 0];
/// The device and vendor ID of `sim_tis`, after four bytes of header.
const DID_VID: [u8; 4] = [0x14, 0x10, 0x01, 0x00];

fn stick(faults: &str) -> Stick {
    Stick::new("S1", |_: u8, _: &[u8]| Vec::new(), Faults::parse(faults).unwrap())
}

fn announce(stick: &mut Stick, len: u8) -> Reply {
    stick.control([0xc0, 0xca, 3, 0, len, 0, 0, 0])
}

fn done() -> Reply {
    Reply::Data(Vec::new())
}

/// Announces a length and sends the bytes.
fn shift(stick: &mut Stick, data: &[u8]) {
    assert_eq!(announce(stick, u8::try_from(data.len()).unwrap()), done());
    assert_eq!(stick.bulk_out(ENDPOINT_OUT, data), done());
}

/// A read of 64 bytes from the FIFO, which is more than the burst count allows.
fn long_read() -> Vec<u8> {
    let mut bytes = vec![0; 68];
    bytes[..4].copy_from_slice(&[0xbf, 0xd4, 0x00, 0x24]);
    bytes
}

fn data(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Data(data) => data,
        other => panic!("{other:?}"),
    }
}

#[test]
fn announce_out_in_reads_a_register() {
    let mut stick = stick("");
    assert_eq!(stick.bulk_in(ENDPOINT_IN, 8), Reply::Nak);
    shift(&mut stick, &READ_DID_VID);
    assert_eq!(data(stick.bulk_in(ENDPOINT_IN, 8))[4..], DID_VID);
    assert_eq!(stick.bulk_in(ENDPOINT_IN, 8), Reply::Nak);
    let counters = stick.counters();
    assert_eq!((counters.control, counters.bulk_out, counters.bulk_in, counters.spi, counters.bytes), (1, 1, 1, 1, 8));
    assert_eq!(counters.total(), 3);
    assert!(stick.offences().is_empty());
    stick.reset_counters();
    assert_eq!(stick.counters(), Counters::default());
}

#[test]
fn bytes_may_arrive_in_pieces_but_only_after_an_announcement() {
    let mut stick = stick("");
    assert_eq!(announce(&mut stick, 8), done());
    stick.bulk_out(ENDPOINT_OUT, &READ_DID_VID[..5]);
    assert_eq!(stick.bulk_in(ENDPOINT_IN, 8), Reply::Nak);
    stick.bulk_out(ENDPOINT_OUT, &READ_DID_VID[5..]);
    assert_eq!(data(stick.bulk_in(ENDPOINT_IN, 64)).len(), 8);
    assert!(stick.offences().is_empty());
    stick.bulk_out(ENDPOINT_OUT, &READ_DID_VID);
    assert_eq!(stick.offences(), ["8 bytes of bulk OUT without an announced length"]);
}

#[test]
fn unknown_requests_are_stalled_and_recorded() {
    let mut stick = stick("");
    assert_eq!(announce(&mut stick, 0), Reply::Stall);
    assert_eq!(announce(&mut stick, 69), Reply::Stall);
    assert_eq!(stick.control([0x40, 0xca, 3, 0, 8, 0, 0, 0]), Reply::Stall);
    assert_eq!(stick.control([0xc0, 0xca, 2, 0, 8, 0, 0, 0]), Reply::Stall);
    assert_eq!(stick.offences().len(), 4);
}

#[test]
fn data_that_was_not_read_comes_first() {
    let mut stick = stick("");
    shift(&mut stick, &[0x80, 0xd4, 0x00, 0x00, 0]);
    shift(&mut stick, &READ_DID_VID);
    assert_eq!(data(stick.bulk_in(ENDPOINT_IN, 8)).len(), 5);
    assert_eq!(data(stick.bulk_in(ENDPOINT_IN, 8))[4..], DID_VID);
}

#[test]
fn a_request_takes_the_available_bytes() {
    let mut stick = stick("");
    shift(&mut stick, &long_read());
    assert_eq!(data(stick.bulk_in(ENDPOINT_IN, 10)).len(), 10);
    assert_eq!(data(stick.bulk_in(ENDPOINT_IN, 512)).len(), 54);
    assert_eq!(data(stick.bulk_in(ENDPOINT_IN, 512)).len(), 4);
    shift(&mut stick, &long_read());
    assert_eq!(data(stick.bulk_in(ENDPOINT_IN, 512)).len(), 68);
}

#[test]
fn whole_packets_overflow_or_wait() {
    let mut stick = stick("whole_packets=1");
    shift(&mut stick, &READ_DID_VID);
    assert_eq!(stick.bulk_in(ENDPOINT_IN, 5), Reply::Overflow);
    let exact = &long_read()[..64];
    shift(&mut stick, exact);
    assert_eq!(stick.bulk_in(ENDPOINT_IN, 128), Reply::Nak);
    assert_eq!(data(stick.bulk_in(ENDPOINT_IN, 64)).len(), 64);
}

#[test]
fn a_halted_endpoint_works_again_after_clear_feature() {
    for (fault, endpoint) in [("halt_in=0", ENDPOINT_IN), ("halt_out=0", ENDPOINT_OUT)] {
        let mut stick = stick(fault);
        announce(&mut stick, 8);
        stick.bulk_out(ENDPOINT_OUT, &READ_DID_VID);
        let again = |stick: &mut Stick| match endpoint {
            ENDPOINT_IN => stick.bulk_in(ENDPOINT_IN, 8),
            _ => stick.bulk_out(ENDPOINT_OUT, &READ_DID_VID),
        };
        if endpoint == ENDPOINT_IN {
            assert_eq!(again(&mut stick), Reply::Stall);
        }
        assert_eq!(again(&mut stick), Reply::Stall);
        assert_eq!(stick.control([0x82, 0, 0, 0, endpoint, 0, 2, 0]), Reply::Data(vec![1, 0]));
        assert_eq!(stick.control([0x02, 1, 0, 0, endpoint, 0, 0, 0]), done());
        assert_eq!(stick.control([0x82, 0, 0, 0, endpoint, 0, 2, 0]), Reply::Data(vec![0, 0]));
        data(again(&mut stick));
    }
}

#[test]
fn faults_corrupt_the_data_of_a_bulk_in() {
    let reply = |fault: &str| {
        let mut stick = stick(fault);
        shift(&mut stick, &READ_DID_VID);
        let first = stick.bulk_in(ENDPOINT_IN, 8);
        (first, stick.bulk_in(ENDPOINT_IN, 8))
    };
    let (good, nothing) = reply("");
    assert_eq!(nothing, Reply::Nak);
    let good = data(good);
    assert_eq!(reply("short_in=0"), (Reply::Data(good[..7].to_vec()), Reply::Nak));
    assert_eq!(reply("garbage_in=0").0, Reply::Data(good.iter().map(|byte| !byte).collect()));
    assert_eq!(reply("long_in=0"), (Reply::Overflow, Reply::Nak));
    for (fault, first) in [("empty_in=0", done()), ("stall_in=0", Reply::Stall), ("nak_in=0", Reply::Silence)] {
        assert_eq!(reply(fault), (first, Reply::Data(good.clone())), "{fault}");
    }
}

#[test]
fn an_announcement_that_fails_is_ignored() {
    for (fault, reply) in [("stall_control=0", Reply::Stall), ("nak_control=0", Reply::Silence)] {
        let mut stick = stick(fault);
        assert_eq!(announce(&mut stick, 8), reply);
        stick.bulk_out(ENDPOINT_OUT, &READ_DID_VID);
        assert_eq!(stick.bulk_in(ENDPOINT_IN, 8), Reply::Nak);
        assert_eq!(stick.offences().len(), 1);
    }
}

#[test]
fn an_unplugged_stick_does_not_reply_and_restarts_when_plugged_in() {
    let mut stick = stick("unplug=2");
    shift(&mut stick, &READ_DID_VID);
    assert_eq!(stick.bulk_in(ENDPOINT_IN, 8), Reply::Gone);
    assert!(!stick.is_plugged());
    assert_eq!(stick.control([0x80, 6, 0, 1, 0, 0, 18, 0]), Reply::Gone);
    stick.plug();
    assert_eq!(stick.bulk_in(ENDPOINT_IN, 8), Reply::Nak);
    shift(&mut stick, &READ_DID_VID);
    assert_eq!(data(stick.bulk_in(ENDPOINT_IN, 8))[4..], DID_VID);
}

#[test]
fn the_faults_of_the_tpm_take_effect_and_count_down() {
    let mut stick = stick("error_after=1");
    for expected in [DID_VID, [0xff; 4], DID_VID] {
        shift(&mut stick, &READ_DID_VID);
        assert_eq!(data(stick.bulk_in(ENDPOINT_IN, 8))[4..], expected);
    }
    assert_eq!(stick.faults().tis.error_after, None);
}

#[test]
fn descriptors_are_truncated_to_the_requested_length() {
    let mut stick = stick("");
    let device = data(stick.control([0x80, 6, 0, 1, 0, 0, 18, 0]));
    assert_eq!(device[8..12], [0x5d, 0x36, 0x37, 0x13]);
    assert_eq!(stick.control([0x80, 6, 0, 1, 0, 0, 8, 0]), Reply::Data(device[..8].to_vec()));
    assert_eq!(stick.control([0x80, 6, 3, 3, 9, 4, 255, 0]), Reply::Data(vec![6, 3, b'S', 0, b'1', 0]));
    assert_eq!(stick.control([0x80, 6, 0, 6, 0, 0, 10, 0]), Reply::Stall);
    assert_eq!(stick.control([0, 9, 1, 0, 0, 0, 0, 0]), done());
    assert_eq!(stick.control([0x80, 8, 0, 0, 0, 0, 1, 0]), Reply::Data(vec![1]));
}

#[test]
fn a_fault_is_counted_when_it_takes_effect() {
    let mut stick = stick("stall_out=1,burst=8");
    shift(&mut stick, &READ_DID_VID);
    assert_eq!(stick.strikes(), 0);
    announce(&mut stick, 8);
    assert_eq!(stick.bulk_out(ENDPOINT_OUT, &READ_DID_VID), Reply::Stall);
    assert_eq!(stick.strikes(), 1);
}
