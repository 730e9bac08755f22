// SPDX-License-Identifier: BSD-2-Clause
//! Tests of exchanges that succeed, and of the number of transactions.

use super::*;
use tcti_core::Tcti;

/// Returns the number of transactions of one exchange on an open context.
fn cost(faults: Faults, command: &[u8]) -> u64 {
    let bench = Bench::new(faults);
    let mut session = bench.open(ChipSelect::PerTransfer);
    run(&mut session, command).unwrap();
    let before = bench.sim().transactions();
    assert_eq!(run(&mut session, command).unwrap(), echo(0, command));
    let cost = bench.sim().transactions() - before;
    bench.assert_no_offences();
    cost
}

#[test]
fn a_short_command_costs_eight_transactions() {
    // Status, command, tpmGo, status, header, rest, status, commandReady.
    assert_eq!(cost(Faults::default(), GET_RANDOM_16), 8);
    // The header alone is the whole response.
    assert_eq!(cost(Faults::default(), &command(12, 10, 0)), 7);
}

#[test]
fn the_idle_state_costs_two_more_transactions() {
    assert_eq!(cost(Faults { through_idle: true, ..Faults::default() }, GET_RANDOM_16), 10);
}

#[test]
fn a_long_exchange_costs_one_status_per_burst() {
    // 400 bytes in 7 bursts of 64 with a status each, tpmGo; then 1000 bytes: 10 + 54, 14 of 64 and 40, 17 statuses.
    assert_eq!(cost(Faults::default(), &command(400, 1000, 0)), 7 + 7 + 1 + 17 + 17 + 1);
    // A burst count larger than the message saves statuses: the command in 7, the response in 1 + 16, 3 statuses.
    assert_eq!(cost(Faults { burst: 4096, ..Faults::default() }, &command(400, 1000, 0)), 1 + 7 + 1 + 2 + 17 + 1);
}

#[test]
fn every_burst_count_works() {
    for chip_select in BOTH {
        for burst in [1, 2, 7, 8, 9, 10, 11, 63, 64, 65, 4096, u16::MAX] {
            let bench = Bench::new(Faults { burst, ..Faults::default() });
            let mut session = bench.open(chip_select);
            works(&mut session, 1);
            works(&mut session, 2);
            assert_eq!(run(&mut session, GET_RANDOM_16).unwrap().len(), 28);
            drop(session);
            bench.assert_no_offences();
        }
    }
}

#[test]
fn every_message_size_works() {
    let bench = Bench::new(Faults { burst: 32, ..Faults::default() });
    let mut session = bench.open(ChipSelect::Held);
    for size in (12..140).chain([4095, 4096]) {
        let command = command(size, u16::try_from(size).unwrap(), 7);
        assert_eq!(run(&mut session, &command).unwrap(), echo(0, &command));
    }
    bench.assert_no_offences();
}

#[test]
fn a_slow_tpm_works() {
    let faults = Faults {
        burst: 5,
        burst_zero_every: 2,
        ready_after: 3,
        data_after: 20,
        claim_after: 4,
        wait_states: 3,
        ..Faults::default()
    };
    for through_idle in [false, true] {
        let bench = Bench::new(Faults { through_idle, ..faults.clone() });
        let mut session = bench.open(ChipSelect::Held);
        (0..3).for_each(|mark| works(&mut session, mark));
        drop(session);
        bench.assert_no_offences();
    }
}

#[test]
fn long_wait_states_time_out() {
    let bench = Bench::new(Faults { wait_states: 150, ..Faults::default() });
    let mut session = bench.open(ChipSelect::Held);
    works(&mut session, 1);
    bench.set(Faults { wait_states: u32::MAX, ..Faults::default() });
    let before = bench.time.now();
    assert_eq!(run(&mut session, GET_RANDOM_16), Err(ReturnCode::IO_ERROR.into()));
    assert!(bench.time.now() - before <= 200);
    bench.set(Faults::default());
    works(&mut session, 2);
}

#[test]
fn a_receive_with_timeout_0_does_not_sleep_and_loses_no_bytes() {
    let faults = Faults { burst: 3, burst_zero_every: 2, data_after: 5, ..Faults::default() };
    for chip_select in BOTH {
        let bench = Bench::new(faults.clone());
        let mut session = bench.open(chip_select);
        for mark in 0..2 {
            let command = command(12, 77, mark);
            session.transmit(&command).unwrap();
            let before = bench.time.now();
            let mut again = 0;
            let response = loop {
                match collect(&mut session, Wait::Millis(0)) {
                    Err(error) if error.code() == ReturnCode::TRY_AGAIN => again += 1,
                    other => break other.unwrap(),
                }
            };
            assert_eq!(response, echo(0, &command));
            assert!(again > 20, "TRY_AGAIN {again} times, at every point of the response");
            assert_eq!(bench.time.now(), before, "no sleep");
        }
        bench.assert_no_offences();
    }
}

#[test]
fn receive_waits_for_exactly_its_timeout() {
    let bench = Bench::new(Faults { data_after: 1000, ..Faults::default() });
    let mut session = bench.open(ChipSelect::Held);
    session.transmit(GET_RANDOM_16).unwrap();
    for wait in [1, 2, 50, 333] {
        let before = bench.time.now();
        assert_eq!(session.receive(None, Wait::Millis(wait)), Err(ReturnCode::TRY_AGAIN.into()));
        assert_eq!(bench.time.now() - before, u64::from(wait));
    }
    assert_eq!(collect(&mut session, Wait::Forever).unwrap(), echo(0, GET_RANDOM_16));
    bench.assert_no_offences();
}

#[test]
fn polling_slows_down_to_a_few_milliseconds() {
    let bench = Bench::new(Faults { data_after: 1000, ..Faults::default() });
    let mut session = bench.open(ChipSelect::PerTransfer);
    let before = bench.time.now();
    run(&mut session, GET_RANDOM_16).unwrap();
    let slept = bench.time.now() - before;
    assert!((3900..=4000).contains(&slept), "{slept} ms for 1000 reads");
}

#[test]
fn an_abandoned_response_is_never_taken_for_the_next() {
    for statuses in [0, 1, 2, 3, 10] {
        for (burst, through_idle) in [(64, false), (4, true)] {
            let bench = Bench::new(Faults { data_after: 2, burst, through_idle, ..Faults::default() });
            let mut session = bench.open(ChipSelect::Held);
            session.transmit(&command(12, 99, 1)).unwrap();
            for _ in 0..statuses {
                let _ = session.receive(None, Wait::Millis(0));
            }
            // Abandons the command in progress, as the reset of a module does.
            session.preempt(|_| Ok(())).unwrap();
            works(&mut session, 2);
            bench.assert_no_offences();
        }
    }
}

#[test]
fn finalize_aborts_the_command_and_relinquishes_the_locality() {
    let bench = Bench::new(Faults { data_after: 5, ..Faults::default() });
    let mut session = bench.open(ChipSelect::Held);
    assert!(bench.sim().has_locality());
    session.transmit(GET_RANDOM_16).unwrap();
    drop(session);
    assert!(bench.sim().is_at_rest() && !bench.sim().has_locality());
    let mut session = bench.open(ChipSelect::Held);
    works(&mut session, 1);
    bench.assert_no_offences();
}

#[test]
fn cancel_set_locality_and_poll_handles_are_not_implemented() {
    let bench = Bench::new(Faults::default());
    let mut session = bench.open(ChipSelect::Held);
    assert_eq!(session.cancel(), Err(ReturnCode::NOT_IMPLEMENTED.into()));
    assert_eq!(session.set_locality(1), Err(ReturnCode::NOT_IMPLEMENTED.into()));
    assert_eq!(session.poll_handle().err(), Some(ReturnCode::NOT_IMPLEMENTED.into()));
}
