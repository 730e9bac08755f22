// SPDX-License-Identifier: BSD-2-Clause
//! What can stand in the way of a context.

use super::*;
use sim_tis::Death;
use tcti_core::Transport;

/// Tries to open; gives the error and the milliseconds it took.
fn refused(bench: &Bench, chip_select: ChipSelect) -> (Option<Rc>, u64) {
    let before = bench.time.now();
    (Tis::over(bench.bus(chip_select)).err(), bench.time.now() - before)
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
            assert_eq!(rc, Some(Rc::IO_ERROR));
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
                assert_eq!(rc, Some(Rc::IO_ERROR), "after {after} transactions");
                assert!(took <= 3000, "{took} ms");
            }
        }
    }
}

#[test]
fn every_error_of_the_bus_ends_the_opening() {
    for after in 0..7 {
        let bench = Bench::new(Faults { error_after: Some(after), ..Faults::default() });
        assert_eq!(refused(&bench, ChipSelect::Held), (Some(Rc::IO_ERROR), 0));
        works(&mut bench.open(ChipSelect::Held), 1);
    }
}

#[test]
fn a_locality_that_is_refused_is_an_error_and_no_longer_asked_for() {
    let bench = Bench::new(Faults { claim_after: u32::MAX, ..Faults::default() });
    let (rc, took) = refused(&bench, ChipSelect::PerTransfer);
    assert_eq!(rc, Some(Rc::IO_ERROR));
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
    assert_eq!(refused(&bench, ChipSelect::Held), (Some(Rc::IO_ERROR), 2000));
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

#[test]
fn a_child_process_waits_for_its_parent_and_gives_nothing_back() {
    for chip_select in BOTH {
        let bench = Bench::new(Faults::default());
        let mut parent = bench.open(chip_select);
        let mut child = Tis::over(bench.bus(chip_select)).unwrap();
        child.inherited();
        let mut child = Session::new(child);
        let first = command(40, 300, 1);
        parent.transmit(&first).unwrap();
        assert_eq!(child.transmit(&command(40, 300, 2)), Err(Rc::IO_ERROR), "the parent's command is under way");
        assert_eq!(child.transmit(&command(40, 300, 3)), Err(Rc::IO_ERROR), "still");
        assert_eq!(collect(&mut parent, Wait::Forever).unwrap(), echo(0, &first));
        works(&mut child, 4);
        drop(child);
        assert!(bench.sim().has_locality());
        works(&mut parent, 5);
        drop(parent);
        assert!(!bench.sim().has_locality());
        bench.polite();
    }
}

#[test]
fn a_child_process_goes_on_where_its_parent_ended() {
    let bench = Bench::new(Faults::default());
    let parent = bench.open(ChipSelect::Held);
    let mut child = Tis::over(bench.bus(ChipSelect::Held)).unwrap();
    child.inherited();
    drop(parent);
    works(&mut Session::new(child), 1);
    bench.polite();
}
