// SPDX-License-Identifier: BSD-2-Clause
//! Tests of opening, and of processes that share the bus.

use super::*;
use crate::locality;
use sim_tis::Death;
use std::time::Duration;
use tcti_core::Tcti;
use tcti_core::turns::OtherProcess;

/// Tries to open; returns the error and the time in milliseconds.
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
    bench.assert_no_offences();
}

#[test]
fn a_dead_bus_is_noticed_in_time() {
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
fn every_error_of_the_bus_fails_the_opening() {
    for after in 0..7 {
        let bench = Bench::new(Faults { error_after: Some(after), ..Faults::default() });
        assert_eq!(refused(&bench, ChipSelect::Held), (Some(ReturnCode::IO_ERROR), 0));
        works(&mut bench.open(ChipSelect::Held), 1);
    }
}

#[test]
fn a_refused_locality_is_an_error_and_the_request_is_withdrawn() {
    let bench = Bench::new(Faults { claim_after: u32::MAX, ..Faults::default() });
    let (rc, took) = refused(&bench, ChipSelect::PerTransfer);
    assert_eq!(rc, Some(ReturnCode::IO_ERROR));
    assert_eq!(took, 750);
    assert!(!bench.sim().is_asked());
    bench.assert_no_offences();
    bench.set(Faults::default());
    works(&mut bench.open(ChipSelect::PerTransfer), 1);
    bench.assert_no_offences();
}

#[test]
fn a_tpm_that_is_never_ready_is_an_error() {
    let bench = Bench::new(Faults { ready_after: u32::MAX, ..Faults::default() });
    assert_eq!(refused(&bench, ChipSelect::Held), (Some(ReturnCode::IO_ERROR), 2000));
    assert!(!bench.sim().has_locality());
}

#[test]
fn a_response_left_by_a_killed_program_is_dropped() {
    let bench = Bench::new(Faults::default());
    let mut session = bench.open(ChipSelect::Held);
    session.transmit(GET_RANDOM_16).unwrap();
    std::mem::forget(session); // as when the program is killed
    let mut session = bench.open(ChipSelect::Held);
    works(&mut session, 1);
    bench.assert_no_offences();
}

/// Opens a session, and returns a stand-in for a process that shares the bus.
fn shared(bench: &Bench, chip_select: ChipSelect) -> (Session<Tis<OnSim>>, OtherProcess) {
    let mut session = Session::new(Tis::over(bench.bus(chip_select)).unwrap());
    session.set_turn_timeout(Duration::ZERO);
    let other_process = session.other_process().unwrap();
    (session, other_process)
}

#[test]
fn a_command_of_another_process_is_not_aborted() {
    for chip_select in BOTH {
        let bench = Bench::new(Faults::default());
        let (mut session, other_process) = shared(&bench, chip_select);
        let mut other = bench.open(chip_select);
        works(&mut session, 1);
        for mark in 2..5 {
            let turn = other_process.begin();
            let theirs = command(40, 300, mark);
            other.transmit(&theirs).unwrap();
            assert_eq!(session.transmit(&command(40, 300, 0)), Err(ReturnCode::IO_ERROR.into()));
            assert_eq!(session.transmit(&command(40, 300, 0)), Err(ReturnCode::IO_ERROR.into()), "again");
            assert_eq!(collect(&mut other, Wait::Forever).unwrap(), echo(0, &theirs));
            drop(turn);
            works(&mut session, mark);
        }
        bench.assert_no_offences();
    }
}

#[test]
fn the_command_of_a_dead_process_is_aborted() {
    for through_idle in [false, true] {
        let bench = Bench::new(Faults { through_idle, ..Faults::default() });
        let (mut session, other_process) = shared(&bench, ChipSelect::Held);
        works(&mut session, 1);
        let turn = other_process.begin();
        let mut other = bench.open(ChipSelect::Held);
        other.transmit(&command(40, 300, 2)).unwrap();
        std::mem::forget(other);
        turn.die();
        works(&mut session, 3);
        drop(session);
        assert!(!bench.sim().has_locality());
        bench.assert_no_offences();
    }
}

#[test]
fn a_process_that_used_the_tpm_relinquishes_the_locality_and_others_claim_it_again() {
    let bench = Bench::new(Faults::default());
    let (mut session, other_process) = shared(&bench, ChipSelect::Held);
    drop(other_process.begin());
    locality::release(&mut bench.bus(ChipSelect::Held)).unwrap(); // as the other process does in Finalize
    works(&mut session, 1);
    let turn = other_process.begin();
    drop(session);
    assert!(bench.sim().has_locality(), "the other process has a command in progress");
    drop(turn);
    let (session, other_process) = shared(&bench, ChipSelect::Held);
    drop(other_process.begin()); // the other process is killed without Finalize
    drop(session);
    assert!(!bench.sim().has_locality());
    bench.assert_no_offences();
}

#[test]
fn finalize_in_one_process_costs_the_other_no_command() {
    let bench = Bench::new(Faults::default());
    let (mut one, other_process) = shared(&bench, ChipSelect::Held);
    let mut other = bench.open(ChipSelect::Held);
    other.act_as(&other_process);
    works(&mut other, 1);
    works(&mut one, 2);
    drop(other);
    assert!(!bench.sim().has_locality());
    works(&mut one, 3);
    drop(one);
    assert!(!bench.sim().has_locality());
    bench.assert_no_offences();
}

#[test]
fn a_child_that_did_not_use_the_tpm_does_not_release_it() {
    let bench = Bench::new(Faults::default());
    let mut parent = bench.open(ChipSelect::Held);
    let mut child = bench.open(ChipSelect::Held);
    child.act_as(&parent.other_process().unwrap());
    parent.transmit(GET_RANDOM_16).unwrap();
    drop(child);
    assert!(bench.sim().has_locality());
    assert_eq!(collect(&mut parent, Wait::Forever).unwrap(), echo(0, GET_RANDOM_16));
    bench.assert_no_offences();
}

#[test]
fn finalize_does_not_abort_a_command_of_another_process() {
    let bench = Bench::new(Faults::default());
    let (mut session, other_process) = shared(&bench, ChipSelect::Held);
    session.transmit(GET_RANDOM_16).unwrap();
    session.preempt(|_| Ok(())).unwrap();
    let mut other = bench.open(ChipSelect::Held);
    let turn = other_process.begin();
    let theirs = command(40, 300, 1);
    other.transmit(&theirs).unwrap();
    drop(session);
    assert_eq!(collect(&mut other, Wait::Forever).unwrap(), echo(0, &theirs));
    drop(turn);
    bench.assert_no_offences();
}
