// SPDX-License-Identifier: BSD-2-Clause
//! What a command costs on the stick's USB, counted by the simulator, and how long it takes with so much latency per
//! transfer. A table for `cargo xtask bench`.

use crate::stick::{self, GET_RANDOM_16};
use std::time::{Duration, Instant};
use tcti_core::Wait;
use tcti_loader::Child;
use tss2_e2e::simulator::{Counters, Simulator};

/// Latencies per USB transfer, in microseconds: none, a microframe of high speed, a frame of full speed.
const LATENCIES: [u32; 3] = [0, 125, 1000];
/// Commands of each kind per latency.
const COMMANDS: usize = 51;
/// GetRandom by transactions of three transfers one after the other, with a status before each burst and before and
/// after the last byte.
const PLAIN_TRANSACTIONS: u32 = 13;

/// Name and bytes of each command. TPM2_GetCapability asks for the fixed properties.
const MEASURED: [(&str, &[u8]); 2] = [
    ("GetRandom 16", GET_RANDOM_16),
    ("GetCapability", &[0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 127]),
];

/// Prints the table.
pub(crate) fn print() {
    println!("| spi-ltt2go | latency, us | SPI transactions | USB transfers | turns of the bus | median, us |");
    println!("|---|---|---|---|---|---|");
    let mut simulator = Simulator::plug_in("bench");
    let mut of_get_random = None;
    for latency in LATENCIES {
        assert_eq!(simulator.ask(&format!("latency-us {latency}")), "ok");
        for (name, command) in MEASURED {
            let mut tpm = stick::open("").unwrap();
            carry(&mut tpm, command);
            simulator.reset_counters();
            carry(&mut tpm, command);
            let Counters { control, bulk_out, bulk_in, spi } = simulator.counters();
            let transfers = control + bulk_out + bulk_in;
            // Bulk OUT and IN go together.
            let turns = control + bulk_out.max(bulk_in);
            of_get_random.get_or_insert((spi, transfers, turns));
            let median = median(&mut tpm, command);
            println!("| {name} | {latency} | {spi} | {transfers} | {turns} | {} |", median.as_micros());
        }
    }
    let (spi, transfers, turns) = of_get_random.unwrap();
    let plain = PLAIN_TRANSACTIONS;
    let ratio = |ours: u32, plain: u32| f64::from(ours) / f64::from(plain);
    println!(
        "\nGetRandom 16 the plain way would be {plain} transactions, {} transfers, {} turns; the ratios of ours to these are \
         {:.2}, {:.2} and {:.2}. The plain way is computed, not measured.",
        3 * plain,
        3 * plain,
        ratio(spi, plain),
        ratio(transfers, 3 * plain),
        ratio(turns, 3 * plain),
    );
}

fn carry(tpm: &mut Child, command: &[u8]) {
    tpm.transmit(command).unwrap();
    tpm.receive(&mut [0; 4096], Wait::Forever).unwrap();
}

fn median(tpm: &mut Child, command: &[u8]) -> Duration {
    let mut times = Vec::with_capacity(COMMANDS);
    for _ in 0..COMMANDS {
        let begin = Instant::now();
        carry(tpm, command);
        times.push(begin.elapsed());
    }
    times.sort();
    times.get(COMMANDS / 2).copied().unwrap_or_default()
}
