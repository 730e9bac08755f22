// SPDX-License-Identifier: BSD-2-Clause
//! Tests of faults during a command: it fails with the right code and in time, and the next command works.

use super::*;
use sim_tis::Death;
use std::time::Instant;
use tcti_core::Tcti;

/// Runs one command with faults, then others without. Returns the result of the first and its time in milliseconds.
fn under(faults: Faults, chip_select: ChipSelect) -> (Result<Vec<u8>>, u64) {
    let bench = Bench::new(Faults::default());
    let mut session = bench.open(chip_select);
    works(&mut session, 1);
    bench.set(faults);
    let before = bench.time.now();
    let result = run(&mut session, &command(100, 200, 2));
    let took = bench.time.now() - before;
    bench.set(Faults::default());
    works(&mut session, 3);
    works(&mut session, 4);
    bench.assert_no_offences();
    (result, took)
}

/// The number of transactions of such a command.
const TRANSACTIONS: u32 = 2 + 2 + 1 + 5 + 5 + 1;

#[test]
fn every_error_of_the_bus_ends_one_command() {
    for chip_select in BOTH {
        for after in 0..TRANSACTIONS - 1 {
            let (result, took) = under(Faults { error_after: Some(after), ..Faults::default() }, chip_select);
            assert_eq!((result, took), (Err(ReturnCode::IO_ERROR.into()), 0), "transaction {after}");
        }
        // Only commandReady fails: the response is complete.
        let (result, _) = under(Faults { error_after: Some(TRANSACTIONS - 1), ..Faults::default() }, chip_select);
        assert_eq!(result, Ok(echo(0, &command(100, 200, 2))));
    }
}

#[test]
fn a_bus_that_dies_fails_the_command_in_time() {
    for chip_select in BOTH {
        for level in [0x00, 0xff] {
            for after in 0..TRANSACTIONS - 1 {
                let faults = Faults { death: Some(Death { after, level }), ..Faults::default() };
                let (result, took) = under(faults, chip_select);
                assert!(
                    matches!(&result, Err(error) if [ReturnCode::IO_ERROR, ReturnCode::MALFORMED_RESPONSE].contains(&error.code())),
                    "after {after} transactions: {result:?}"
                );
                assert!(took <= 3000, "after {after} transactions: {took} ms");
            }
        }
    }
}

#[test]
fn an_invalid_status_fails_the_command_in_time() {
    for garbage in [u32::MAX, 0x0000_0001, 0x0400_ffb3, 0xaaaa_aaaa] {
        let (result, took) = under(Faults { garbage: Some(garbage), ..Faults::default() }, ChipSelect::Held);
        assert_eq!(result, Err(ReturnCode::IO_ERROR.into()));
        assert!(took <= 250, "{took} ms");
    }
    // Blank, but the locality is ours: the TPM may be busy, up to the time-out of commandReady.
    let (result, took) = under(Faults { garbage: Some(0), ..Faults::default() }, ChipSelect::Held);
    assert_eq!((result, took), (Err(ReturnCode::IO_ERROR.into()), 2000));
}

#[test]
fn an_invalid_status_during_the_wait_for_a_response_fails_the_command() {
    let bench = Bench::new(Faults::default());
    let mut session = bench.open(ChipSelect::Held);
    session.transmit(GET_RANDOM_16).unwrap();
    bench.set(Faults { garbage: Some(u32::MAX), ..Faults::default() });
    assert_eq!(session.receive(None, Wait::Millis(20)), Err(ReturnCode::TRY_AGAIN.into()), "it may recover");
    assert_eq!(session.receive(None, Wait::Forever).err(), Some(ReturnCode::IO_ERROR.into()));
    assert!(bench.time.now() <= 250);
    bench.set(Faults::default());
    works(&mut session, 2);
}

#[test]
fn a_tpm_that_is_never_ready_fails_the_command() {
    // The first command works: the TPM was made ready before the fault.
    let bench = Bench::new(Faults::default());
    let mut session = bench.open(ChipSelect::PerTransfer);
    bench.set(Faults { ready_after: u32::MAX, ..Faults::default() });
    works(&mut session, 1);
    let before = bench.time.now();
    assert_eq!(run(&mut session, GET_RANDOM_16), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!(bench.time.now() - before, 2000);
    bench.set(Faults { ready_after: 7, ..Faults::default() });
    bench.sim().reset();
    works(&mut session, 2);
}

#[test]
fn a_fifo_that_accepts_no_bytes_fails_the_command() {
    let (result, took) = under(Faults { burst: 0, ..Faults::default() }, ChipSelect::Held);
    assert_eq!((result, took), (Err(ReturnCode::IO_ERROR.into()), 750));
}

#[test]
fn lost_bytes_fail_the_command() {
    let (result, took) = under(Faults { lose: 1, ..Faults::default() }, ChipSelect::Held);
    assert_eq!((result, took), (Err(ReturnCode::IO_ERROR.into()), 0));
}

#[test]
fn lost_bytes_may_make_the_tpm_end_the_command_early() {
    for chip_select in BOTH {
        let bench = Bench::new(Faults::default());
        let mut session = bench.open(chip_select);
        // Without three bytes its size field reads 0.
        bench.set(Faults { lose: 3, ..Faults::default() });
        assert_eq!(run(&mut session, &command(256, 200, 0)), Err(ReturnCode::IO_ERROR.into()));
        bench.set(Faults::default());
        works(&mut session, 1);
        bench.assert_no_offences();
    }
}

#[test]
fn a_stalled_response_fails_the_command() {
    for at in [0, 1, 9, 10, 11, 64, 199] {
        let (result, took) = under(Faults { stall_at: Some(at), ..Faults::default() }, ChipSelect::Held);
        assert_eq!(result, Err(ReturnCode::IO_ERROR.into()), "after {at} bytes");
        assert!((750..760).contains(&took), "{took} ms");
    }
}

#[test]
fn a_stalled_response_fails_the_command_of_a_caller_that_never_waits() {
    let bench = Bench::new(Faults { stall_at: Some(12), ..Faults::default() });
    let mut session = bench.open(ChipSelect::Held);
    session.transmit(GET_RANDOM_16).unwrap();
    let begun = Instant::now();
    let result = loop {
        match session.receive(None, Wait::Millis(0)) {
            Err(error) if error.code() == ReturnCode::TRY_AGAIN => {
                assert!(begun.elapsed().as_secs() < 60, "it does not end")
            }
            other => break other.err(),
        }
    };
    assert_eq!(result, Some(ReturnCode::IO_ERROR.into()));
    bench.set(Faults::default());
    works(&mut session, 1);
}

#[test]
fn a_truncated_response_is_malformed() {
    for at in [1, 9, 10, 11, 64, 199] {
        let (result, took) = under(Faults { cut_at: Some(at), ..Faults::default() }, ChipSelect::Held);
        assert_eq!((result, took), (Err(ReturnCode::MALFORMED_RESPONSE.into()), 0), "after {at} bytes");
    }
}

#[test]
fn an_impossible_size_is_malformed() {
    for size in [0_u32, 9, 11, 1 << 20 | 1, u32::MAX] {
        let tpm = move |_: u8, command: &[u8]| match command {
            GET_RANDOM_16 => [&[0x80, 0x01][..], &size.to_be_bytes(), &[0; 8]].concat(),
            other => echo(0, other),
        };
        let sim = Arc::new(Mutex::new(Sim::new(tpm, Faults::default())));
        let bench = Bench { sim, time: Time::default() };
        let mut session = bench.open(ChipSelect::Held);
        assert_eq!(run(&mut session, GET_RANDOM_16), Err(ReturnCode::MALFORMED_RESPONSE.into()));
        works(&mut session, 1);
        bench.assert_no_offences();
    }
}

#[test]
fn a_tpm_that_was_reset_is_claimed_again() {
    let bench = Bench::new(Faults { data_after: 3, ..Faults::default() });
    let mut session = bench.open(ChipSelect::Held);
    session.transmit(GET_RANDOM_16).unwrap();
    bench.sim().reset();
    assert_eq!(session.receive(None, Wait::Forever).err(), Some(ReturnCode::IO_ERROR.into()));
    works(&mut session, 1);
    bench.assert_no_offences();
    // A reset between two commands is noticed by the next one, which fails.
    bench.sim().reset();
    assert_eq!(session.transmit(GET_RANDOM_16), Err(ReturnCode::IO_ERROR.into()));
    works(&mut session, 2);
}

#[test]
fn a_bus_that_stays_dead_stays_an_error() {
    let bench = Bench::new(Faults::default());
    let mut session = bench.open(ChipSelect::Held);
    bench.set(Faults { death: Some(Death { after: 0, level: 0xff }), ..Faults::default() });
    for _ in 0..3 {
        assert_eq!(session.transmit(GET_RANDOM_16), Err(ReturnCode::IO_ERROR.into()));
    }
    bench.set(Faults::default());
    bench.sim().reset();
    works(&mut session, 1);
}
