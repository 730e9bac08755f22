// SPDX-License-Identifier: BSD-2-Clause
//! Random faults: each call ends in time, no response is returned for the wrong command, and everything works again without
//! faults.

use super::*;
use sim_tis::Death;
use tcti_core::Tcti;
use tcti_core::testing::is_emulated;

/// Pseudo-random numbers, the same in each run (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(limit)).unwrap()
    }

    fn sometimes<T>(&mut self, what: T) -> Option<T> {
        (self.below(8) == 0).then_some(what)
    }

    /// Returns faults with which a response, if there is one, is correct: a slow TPM, and a bus that fails or dies.
    fn faults(&mut self) -> Faults {
        let after = self.below(40);
        let level = [0x00, 0xff][self.below(2) as usize];
        let at = 1 + self.below(300) as usize; // not 0: a response that has not begun is awaited forever
        let impossible = 0x20 | 1 << self.below(32); // not a possible status, which may mean "busy" forever
        Faults {
            burst: [0, 1, 3, 8, 10, 32, 63, 64, 65, 512][self.below(10) as usize],
            burst_zero_every: self.below(5),
            ready_after: self.below(6),
            through_idle: self.below(2) == 0,
            data_after: self.below(30),
            wait_states: self.below(4),
            claim_after: self.below(5),
            garbage: self.sometimes(impossible),
            lose: self.sometimes(1).unwrap_or_default(),
            stall_at: self.sometimes(at),
            cut_at: self.sometimes(at),
            death: self.sometimes(Death { after, level }),
            error_after: self.sometimes(after),
        }
    }
}

#[test]
fn no_response_is_returned_for_another_command() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut right, mut wrong, mut again) = (0, 0, 0);
    let rounds = if is_emulated() { 30 } else { 300 };
    for round in 0..rounds {
        let bench = Bench::new(Faults::default());
        let mut session = bench.open(BOTH[round % 2]);
        for mark in 0..20 {
            let faults = random.faults();
            // Wait states need a bus that holds chip select.
            bench.set(Faults { wait_states: if round % 2 == 0 { 0 } else { faults.wait_states }, ..faults });
            if random.below(16) == 0 {
                bench.sim().reset();
            }
            let answer = u16::try_from(10 + random.below(400)).unwrap();
            let command = command(12 + random.below(200) as usize, answer, mark);
            let started = bench.time.now();
            let mut result = session.transmit(&command).map(|()| Vec::new());
            if result.is_ok() {
                result = loop {
                    let wait = [Wait::Forever, Wait::Millis(0), Wait::Millis(7)][random.below(3) as usize];
                    match collect(&mut session, wait) {
                        Err(error) if error.code() == ReturnCode::TRY_AGAIN => again += 1,
                        other => break other,
                    }
                };
            }
            let took = bench.time.now() - started;
            // The sum of the time-outs: locality, ready, burst, stall, and wait states.
            assert!(took < 30_000, "{took} ms");
            match result {
                Ok(response) => {
                    assert_eq!(response, echo(0, &command));
                    right += 1;
                }
                Err(rc) => {
                    assert!([ReturnCode::IO_ERROR, ReturnCode::MALFORMED_RESPONSE].contains(&rc.code()), "{rc:?}");
                    wrong += 1;
                }
            }
        }
        bench.set(Faults::default());
        bench.sim().reset();
        let _ = run(&mut session, GET_RANDOM_16); // notices the reset, unless an earlier command did
        works(&mut session, 99);
    }
    let enough = 3 * rounds;
    assert!(right > enough && wrong > enough && again > enough, "{right} right, {wrong} wrong, {again} asked again");
}
