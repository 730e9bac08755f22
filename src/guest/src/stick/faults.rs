// SPDX-License-Identifier: BSD-2-Clause
//! What goes wrong on the USB and behind it. Each fault ends in an error within the time-outs, nothing stays claimed,
//! and the next command on the same context works.

use super::{NEEDS, open, random};
use std::time::{Duration, Instant};
use tcti_core::Rc;
use tss2_e2e::simulator::{Simulator, claimed};
use tss2_e2e::suite::Suite;

/// The time-outs of a transfer (1 s) and of the interface (2 s at most), several times, and a slow machine.
const LIMIT: Duration = Duration::from_secs(8);

/// Faults of the USB in the middle of a command.
const OF_A_TRANSFER: [&str; 13] = [
    "stall_control=3",
    "nak_control=3",
    "stall_out=3",
    "halt_out=3",
    "nak_out=3",
    "stall_in=3",
    "halt_in=3",
    "nak_in=3",
    "short_in=3",
    "long_in=3",
    "empty_in=3+",
    "stall_control=0+",
    "halt_in=0+",
];

/// Faults behind the bridge, which answers well: the stick stays open.
const OF_THE_TPM: [&str; 3] = ["garbage_in=0+", "ready_after=1000000", "dead_after=0"];

pub(crate) fn tests(suite: &mut Suite) {
    for faults in OF_A_TRANSFER {
        suite.test(format!("faults::{faults}_costs_one_command"), &NEEDS, move || costs_one_command(faults, 0));
    }
    for faults in OF_THE_TPM {
        suite.test(format!("faults::{faults}_costs_one_command"), &NEEDS, move || costs_one_command(faults, 1));
    }
    suite.test("faults::a_stick_that_never_works_does_not_open", &NEEDS, does_not_open);
    suite.test("faults::an_unplugged_stick_is_found_again", &NEEDS, found_again);
    suite.test("faults::an_unplugged_stick_is_noticed_at_any_transfer", &NEEDS, noticed_at_any_transfer);
}

fn costs_one_command(faults: &str, stay_claimed: usize) {
    let mut stick = Simulator::plug_in("0042");
    let mut tpm = open("").unwrap();
    random(&mut tpm).unwrap();
    stick.set(faults);
    let begin = Instant::now();
    // A TPM that is slow to get ready is asked for it with the second command.
    let failed = (0..2).find_map(|_| random(&mut tpm).err());
    assert_eq!(failed, Some(Rc::IO_ERROR));
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
    assert_eq!(claimed(), stay_claimed);
    stick.set("");
    if faults.starts_with("ready_after") {
        // That takes another TPM.
        assert!(stick.ask("unplug") == "ok" && stick.ask("plug").starts_with("ready "));
        assert_eq!(random(&mut tpm).err(), Some(Rc::NO_CONNECTION));
    }
    random(&mut tpm).unwrap();
    drop(tpm);
    assert_eq!(claimed(), 0);
}

fn does_not_open() {
    let mut stick = Simulator::plug_in("0042");
    for faults in ["nak_control=0+", "halt_out=0+", "nak_in=0+", "empty_in=0+", "garbage_in=0+", "claim_after=1000000"]
    {
        stick.set(faults);
        let begin = Instant::now();
        assert_eq!(open("").err(), Some(Rc::IO_ERROR), "{faults}");
        assert!(begin.elapsed() < LIMIT, "{faults}: {:?}", begin.elapsed());
        assert_eq!(claimed(), 0, "{faults}");
    }
    stick.set("");
    random(&mut open("").unwrap()).unwrap();
}

fn found_again() {
    let stick = Simulator::plug_in("0042");
    let mut tpm = open("").unwrap();
    random(&mut tpm).unwrap();
    stick.kill();
    assert_eq!(random(&mut tpm).err(), Some(Rc::NO_CONNECTION));
    assert_eq!(random(&mut tpm).err(), Some(Rc::NO_CONNECTION));
    // Another stick is not taken for it.
    let other = Simulator::plug_in("0043");
    assert_eq!(random(&mut tpm).err(), Some(Rc::NO_CONNECTION));
    let mut stick = Simulator::plug_in("0042");
    random(&mut tpm).unwrap();
    drop(other);
    random(&mut tpm).unwrap();
    assert!(stick.ask("unplug") == "ok" && stick.ask("plug").starts_with("ready "));
    assert_eq!(random(&mut tpm).err(), Some(Rc::NO_CONNECTION));
    random(&mut tpm).unwrap();
    drop(tpm);
    assert_eq!((stick.ask("locality").as_str(), claimed()), ("0", 0));
}

fn noticed_at_any_transfer() {
    let mut stick = Simulator::plug_in("0042");
    let mut tpm = open("").unwrap();
    for at in 0..21 {
        stick.set(&format!("unplug={at}"));
        assert_eq!(random(&mut tpm).err(), Some(Rc::NO_CONNECTION), "{at}");
        assert!(stick.ask("plug").starts_with("ready "));
        random(&mut tpm).unwrap();
    }
}
