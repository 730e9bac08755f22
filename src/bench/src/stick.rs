// SPDX-License-Identifier: BSD-2-Clause
//! What a command costs on the USB of a LetsTrust-TPM2Go, counted by the simulator, and how long it takes with so much
//! latency per transfer; then what a context costs.

use crate::cycles;
use crate::measure::{Times, timed};
use crate::servers::{self, Parts};
use anyhow::{Context, Result};
use tss2_e2e::simulator::{Counters, Simulator};

/// Latencies per USB transfer, in microseconds: none, a microframe of high speed, a frame of full speed.
const LATENCIES: [u32; 3] = [0, 125, 1000];
/// GetRandom by transactions of three transfers one after the other, with a status before each burst and before and
/// after the last byte.
const PLAIN_TRANSACTIONS: u32 = 13;

/// Name and bytes of each command. TPM2_GetCapability asks for the fixed properties.
const MEASURED: [(&str, &[u8]); 2] = [
    ("GetRandom 16", &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16]),
    ("GetCapability", &[0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 127]),
];

/// Prints the tables: so many commands of each kind per latency, and so many contexts.
pub(crate) fn print(parts: &Parts, commands: usize, contexts: usize) -> Result<()> {
    let mut simulator = Simulator::plug_in("bench");
    let case = servers::stick(parts);
    println!("| spi-ltt2go | latency, us | SPI transactions | USB transfers | turns of the bus | microseconds |");
    println!("|---|---|---|---|---|---|");
    let mut of_get_random = None;
    for latency in LATENCIES {
        simulator.set_latency(latency);
        for (name, command) in MEASURED {
            let mut carrier = case.ours().subject()()?;
            carrier(command)?;
            simulator.reset_counters();
            carrier(command)?;
            let Counters { control, bulk_out, bulk_in, spi } = simulator.counters();
            let transfers = control + bulk_out + bulk_in;
            // Bulk OUT and IN go together.
            let turns = control + bulk_out.max(bulk_in);
            of_get_random.get_or_insert((spi, transfers, turns));
            let mut times = Times::default();
            times.add((0..commands).map(|_| Ok(timed(|| carrier(command))?.0)).collect::<Result<Vec<_>>>()?);
            println!("| {name} | {latency} | {spi} | {transfers} | {turns} | {times} |");
        }
    }
    let (spi, transfers, turns) = of_get_random.context("nothing was measured")?;
    let plain = PLAIN_TRANSACTIONS;
    let ratio = |ours: u32, plain: u32| f64::from(ours) / f64::from(plain);
    println!(
        "\nGetRandom 16 the plain way would be {plain} transactions, {} transfers, {} turns; the ratios of ours to these are \
         {:.2}, {:.2} and {:.2}. The plain way is computed, not measured.\n",
        3 * plain,
        3 * plain,
        ratio(spi, plain),
        ratio(transfers, 3 * plain),
        ratio(turns, 3 * plain),
    );
    simulator.set_latency(0);
    cycles::print(&[case], contexts)
}
