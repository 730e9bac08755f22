// SPDX-License-Identifier: BSD-2-Clause
//! What a command costs on the USB of a LetsTrust-TPM2Go, counted by the simulator, and how long it takes with so much
//! latency per transfer; then what a context costs.

use crate::cell;
use crate::cycles;
use crate::measure::{Times, timed};
use crate::servers::{self, Parts};
use crate::subject::{Carrier, Library};
use anyhow::Result;
use tss2_kit::simulator::{Counters, Simulator};

/// Latencies per USB transfer, in microseconds: none, a microframe of high speed, a frame of full speed.
const LATENCIES: [u32; 3] = [0, 125, 1000];

/// Name and bytes of each command. TPM2_GetCapability asks for the fixed properties.
const MEASURED: [(&str, &[u8]); 2] = [
    ("GetRandom 16", &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16]),
    ("GetCapability", &[0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 127]),
];

/// Prints the tables: so many commands of each kind per latency, and so many contexts.
pub(crate) fn print(parts: &Parts, commands: usize, contexts: usize) -> Result<()> {
    let mut simulator = Simulator::plug_in("bench");
    let case = servers::stick(parts);
    let theirs = case.versions().map(|version| format!("C {version}")).zip(case.theirs());
    let modules = [("ours".to_owned(), Some(case.ours()))].into_iter().chain(theirs);
    let modules: Vec<(String, Library)> = modules.filter_map(|(name, library)| Some((name, library?))).collect();
    println!(
        "| spi-ltt2go | latency, us | module | SPI transactions | USB transfers | turns of the bus | microseconds | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for latency in LATENCIES {
        simulator.set_latency(latency);
        for (name, command) in MEASURED {
            let mut of_ours: Option<Times> = None;
            for (module, library) in &modules {
                let mut carrier = library.subject()()?;
                carrier(command)?;
                let Counters { control, bulk_out, bulk_in, spi } = counted(&mut simulator, &mut carrier, command)?;
                // Ours has bulk OUT and IN under way together, the C module one after the other.
                let bulk = if of_ours.is_none() { bulk_out.max(bulk_in) } else { bulk_out + bulk_in };
                let (transfers, turns) = (control + bulk_out + bulk_in, control + bulk);
                let mut times = Times::default();
                times.add((0..commands).map(|_| Ok(timed(|| carrier(command))?.0)).collect::<Result<Vec<_>>>()?);
                let ratio = cell::ratio(of_ours.as_ref().map(|ours| ours.ratio(&times)));
                println!("| {name} | {latency} | {module} | {spi} | {transfers} | {turns} | {times} | {ratio} |");
                of_ours.get_or_insert(times);
            }
        }
    }
    println!();
    simulator.set_latency(0);
    cycles::print(&[case], contexts)
}

/// What one command costs.
fn counted(simulator: &mut Simulator, carrier: &mut Carrier, command: &[u8]) -> Result<Counters> {
    simulator.reset_counters();
    carrier(command)?;
    Ok(simulator.counters())
}
