// SPDX-License-Identifier: BSD-2-Clause
//! What can stand in the way of a context.

use super::*;
use crate::locality;
use sim_tis::Death;
use std::time::Duration;
use tcti_core::turns::Elsewhere;

/// Tries to open; gives the error and the milliseconds it took.
fn refused(bench: &Bench, chip_select: ChipSelect) -> (Option<ReturnCode>, u64) {
    let before = bench.time.now();
    (Tis::over(bench.bus(chip_select)).err().map(|error| error.code()), bench.time.now() - before)
}

#[test]
fn opening_costs_seven_transactions() {
    let bench = Bench::new(Faults::default());
    // Vendor, revision, access, request, access, commandReady, status.
    let session = bench.open(ChipSelect::PerTransfer);
    assert_eq!(bench.sim().transactions(), 7);
    drop(session);
    assert_eq!(bench.sim().transactions(), 8);
    bench.polite();
}

#[test]
fn a_dead_bus_is_seen_at_once() {
    for chip_select in BOTH {
        for level in [0x00, 0xff] {
            let bench = Bench::new(Faults { death: Some(Death { after: 0, level }), ..Faults::default() });
            let (rc, took) = refused(&bench, chip_select);
            assert_eq!(rc, Some(ReturnCode::IO_ERROR));
            assert!(took <= 750, "{took} ms");
        }
    }
}

#[test]
fn a_bus_that_dies_while_opening_is_an_error() {
    for chip_select in BOTH {
        for level in [0x00, 0xff] {
            for after in 1..7 {
                let bench = Bench::new(Faults { death: Some(Death { after, level }), ..Faults::default() });
                let (rc, took) = refused(&bench, chip_select);
                assert_eq!(rc, Some(ReturnCode::IO_ERROR), "after {after} transactions");
                assert!(took <= 3000, "{took} ms");
            }
        }
    }
}

#[test]
fn every_error_of_the_bus_ends_the_opening() {
    for after in 0..7 {
        let bench = Bench::new(Faults { error_after: Some(after), ..Faults::default() });
        assert_eq!(refused(&bench, ChipSelect::Held), (Some(ReturnCode::IO_ERROR), 0));
        works(&mut bench.open(ChipSelect::Held), 1);
    }
}

#[test]
fn a_locality_that_is_refused_is_an_error_and_no_longer_asked_for() {
    let bench = Bench::new(Faults { claim_after: u32::MAX, ..Faults::default() });
    let (rc, took) = refused(&bench, ChipSelect::PerTransfer);
    assert_eq!(rc, Some(ReturnCode::IO_ERROR));
    assert_eq!(took, 750);
    assert!(!bench.sim().is_asked());
    bench.polite();
    bench.set(Faults::default());
    works(&mut bench.open(ChipSelect::PerTransfer), 1);
    bench.polite();
}

#[test]
fn a_tpm_that_is_never_ready_is_an_error() {
    let bench = Bench::new(Faults { ready_after: u32::MAX, ..Faults::default() });
    assert_eq!(refused(&bench, ChipSelect::Held), (Some(ReturnCode::IO_ERROR), 2000));
    assert!(!bench.sim().has_locality());
}

#[test]
fn a_response_that_somebody_left_is_dropped() {
    let bench = Bench::new(Faults::default());
    let mut session = bench.open(ChipSelect::Held);
    session.transmit(GET_RANDOM_16).unwrap();
    std::mem::forget(session); // a program that was killed
    let mut session = bench.open(ChipSelect::Held);
    works(&mut session, 1);
    bench.polite();
}

/// A session, and the process that it shares the bus with.
fn shared(bench: &Bench, chip_select: ChipSelect) -> (Session<Tis<OnSim>>, Elsewhere) {
    let mut session = Session::new(Tis::over(bench.bus(chip_select)).unwrap());
    session.set_patience(Duration::ZERO);
    let elsewhere = session.elsewhere().unwrap();
    (session, elsewhere)
}

#[test]
fn no_command_is_aborted_that_another_process_has_sent() {
    for chip_select in BOTH {
        let bench = Bench::new(Faults::default());
        let (mut session, elsewhere) = shared(&bench, chip_select);
        let mut other = bench.open(chip_select);
        works(&mut session, 1);
        for mark in 2..5 {
            let turn = elsewhere.begin();
            let theirs = command(40, 300, mark);
            other.transmit(&theirs).unwrap();
            assert_eq!(session.transmit(&command(40, 300, 0)), Err(ReturnCode::IO_ERROR.into()));
            assert_eq!(session.transmit(&command(40, 300, 0)), Err(ReturnCode::IO_ERROR.into()), "still");
            assert_eq!(collect(&mut other, Wait::Forever).unwrap(), echo(0, &theirs));
            drop(turn);
            works(&mut session, mark);
        }
        bench.polite();
    }
}

#[test]
fn a_process_that_died_has_no_turn_and_its_command_is_aborted() {
    for through_idle in [false, true] {
        let bench = Bench::new(Faults { through_idle, ..Faults::default() });
        let (mut session, elsewhere) = shared(&bench, ChipSelect::Held);
        works(&mut session, 1);
        let turn = elsewhere.begin();
        let mut other = bench.open(ChipSelect::Held);
        other.transmit(&command(40, 300, 2)).unwrap();
        std::mem::forget(other);
        turn.die();
        works(&mut session, 3);
        drop(session);
        assert!(!bench.sim().has_locality());
        bench.polite();
    }
}

#[test]
fn a_process_that_used_the_tpm_gives_its_locality_back_and_others_claim_it_again() {
    let bench = Bench::new(Faults::default());
    let (mut session, elsewhere) = shared(&bench, ChipSelect::Held);
    drop(elsewhere.begin());
    locality::release(&mut bench.bus(ChipSelect::Held)).unwrap(); // by the other process, at its end
    works(&mut session, 1);
    let turn = elsewhere.begin();
    drop(session);
    assert!(bench.sim().has_locality(), "the other process is at work");
    drop(turn);
    let (session, elsewhere) = shared(&bench, ChipSelect::Held);
    drop(elsewhere.begin()); // it is killed
    drop(session);
    assert!(!bench.sim().has_locality());
    bench.polite();
}

#[test]
fn the_end_of_one_process_costs_the_other_no_command() {
    let bench = Bench::new(Faults::default());
    let (mut one, elsewhere) = shared(&bench, ChipSelect::Held);
    let mut other = bench.open(ChipSelect::Held);
    other.be(&elsewhere);
    works(&mut other, 1);
    works(&mut one, 2);
    drop(other);
    assert!(!bench.sim().has_locality());
    works(&mut one, 3);
    drop(one);
    assert!(!bench.sim().has_locality());
    bench.polite();
}

#[test]
fn a_child_that_did_not_use_the_tpm_leaves_it_as_it_is() {
    let bench = Bench::new(Faults::default());
    let mut parent = bench.open(ChipSelect::Held);
    let mut child = bench.open(ChipSelect::Held);
    child.be(&parent.elsewhere().unwrap());
    parent.transmit(GET_RANDOM_16).unwrap();
    drop(child);
    assert!(bench.sim().has_locality());
    assert_eq!(collect(&mut parent, Wait::Forever).unwrap(), echo(0, GET_RANDOM_16));
    bench.polite();
}

#[test]
fn what_another_process_has_sent_is_not_aborted_at_the_end() {
    let bench = Bench::new(Faults::default());
    let (mut session, elsewhere) = shared(&bench, ChipSelect::Held);
    session.transmit(GET_RANDOM_16).unwrap();
    session.preempt(|_| Ok(())).unwrap();
    let mut other = bench.open(ChipSelect::Held);
    let turn = elsewhere.begin();
    let theirs = command(40, 300, 1);
    other.transmit(&theirs).unwrap();
    drop(session);
    assert_eq!(collect(&mut other, Wait::Forever).unwrap(), echo(0, &theirs));
    drop(turn);
    bench.polite();
}
