// SPDX-License-Identifier: BSD-2-Clause
//! A slow TPM, and calls in any order: except for the moment at which the response arrives, each result is that of an ideal
//! transport.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tcti_core::Tcti;

/// The sizes of a command and its response, and the calls of receive: the size of the buffer, or none to ask for the size.
type Exchange = (usize, u16, Vec<(Option<usize>, Wait)>);

fn exchanges() -> impl Strategy<Value = Vec<Exchange>> {
    let room = prop_oneof![Just(None), (0..450_usize).prop_map(Some)];
    let wait = prop_oneof![3 => Just(Wait::Millis(0)), 1 => Just(Wait::Millis(7)), 1 => Just(Wait::Forever)];
    vec((12..200_usize, 10..400_u16, vec((room, wait), 0..20)), 1..6)
}

fn slow() -> impl Strategy<Value = Faults> {
    let bursts = select(vec![1, 3, 8, 10, 32, 63, 64, 65, 512]);
    let zeroes = select(vec![0, 2, 3, 4]); // not 1: with a burst count of 0 in each status nothing would progress
    let numbers = (zeroes, 0..6_u32, 0..30_u32, 0..4_u32, 0..5_u32);
    (bursts, any::<bool>(), numbers).prop_map(|(burst, through_idle, numbers)| {
        let (burst_zero_every, ready_after, data_after, wait_states, claim_after) = numbers;
        let slow = Faults { burst, burst_zero_every, ready_after, through_idle, data_after, ..Faults::default() };
        Faults { wait_states, claim_after, ..slow }
    })
}

proptest! {
    #[test]
    fn any_exchange_matches_the_ideal_transport(faults in slow(), exchanges in exchanges()) {
        // Wait states need a bus that holds chip select.
        let chip_select = if faults.wait_states == 0 { ChipSelect::PerTransfer } else { ChipSelect::Held };
        let bench = Bench::new(faults);
        let mut session = bench.open(chip_select);
        for (mark, (size, answer, asked)) in (0..).zip(exchanges) {
            follow(&mut session, &command(size, answer, mark), &asked);
        }
        drop(session);
        bench.assert_no_offences();
    }
}

fn follow(session: &mut Session<Tis<OnSim>>, command: &[u8], asked: &[(Option<usize>, Wait)]) {
    let response = echo(0, command);
    session.transmit(command).unwrap();
    let mut is_here = false;
    for (room, wait) in asked.iter().copied().chain([(Some(response.len()), Wait::Forever)]) {
        assert_eq!(session.transmit(command), Err(ReturnCode::BAD_SEQUENCE.into()));
        let answer = session.receive(room, wait);
        if answer == Err(ReturnCode::TRY_AGAIN.into()) && wait != Wait::Forever && !is_here {
            continue;
        }
        is_here = true;
        match room {
            None => assert_eq!(answer, Ok(Received::Size(response.len()))),
            Some(room) if room < response.len() => assert_eq!(answer, Ok(Received::TooLarge(response.len()))),
            Some(_) => {
                assert_eq!(answer, Ok(Received::Response(&response)));
                break;
            }
        }
    }
    assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::BAD_SEQUENCE.into()));
}
