// SPDX-License-Identifier: BSD-2-Clause
//! Measures a simulated LetsTrust-TPM2Go: the transfers per command, counted by the simulator, the time per command at several
//! latencies of a transfer, and the time to open and finalize a context.

use crate::cell;
use crate::connection::{Connection, Library};
use crate::cycles;
use crate::measure::{Times, timed};
use crate::servers::{self, Selection};
use anyhow::Result;
use tss2_kit::simulator::{Counters, Simulator};

/// Latencies of a USB transfer in microseconds: none, a high-speed microframe, a full-speed frame.
const LATENCIES: [u32; 3] = [0, 125, 1000];

/// The name and bytes of each command. TPM2_GetCapability requests the fixed properties.
const COMMANDS: [(&str, &[u8]); 2] = [
    ("GetRandom 16", &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16]),
    ("GetCapability", &[0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 127]),
];

/// Measures and prints the tables, with `commands` commands of each kind per latency and `contexts` contexts.
pub(crate) fn print(selection: &Selection, commands: usize, contexts: usize) -> Result<()> {
    let mut simulator = Simulator::plug_in("bench");
    let case = servers::stick(selection);
    let theirs = case.versions().map(|version| format!("C {version}")).zip(case.theirs());
    let modules = [("ours".to_owned(), Some(case.ours()))].into_iter().chain(theirs);
    let modules: Vec<(String, Library)> = modules.filter_map(|(name, library)| Some((name, library?))).collect();
    println!(
        "| spi-ltt2go | latency, us | module | SPI transactions | USB transfers | bus round trips | microseconds | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for latency in LATENCIES {
        simulator.set_latency(latency);
        for (name, command) in COMMANDS {
            let mut ours: Option<Times> = None;
            for (module, library) in &modules {
                let mut connection = library.connector()()?;
                connection(command)?;
                let Counters { control, bulk_out, bulk_in, spi } = counted(&mut simulator, &mut connection, command)?;
                // Our module submits bulk OUT and IN together, the C module one after the other.
                let bulk = if ours.is_none() { bulk_out.max(bulk_in) } else { bulk_out + bulk_in };
                let (transfers, round_trips) = (control + bulk_out + bulk_in, control + bulk);
                let mut times = Times::default();
                times.add((0..commands).map(|_| Ok(timed(|| connection(command))?.0)).collect::<Result<Vec<_>>>()?);
                let ratio = cell::ratio(ours.as_ref().map(|ours| ours.ratio(&times)));
                println!("| {name} | {latency} | {module} | {spi} | {transfers} | {round_trips} | {times} | {ratio} |");
                ours.get_or_insert(times);
            }
        }
    }
    println!();
    simulator.set_latency(0);
    cycles::print(&[case], contexts)
}

/// Sends one command and returns the simulator's counters.
fn counted(simulator: &mut Simulator, connection: &mut Connection, command: &[u8]) -> Result<Counters> {
    simulator.reset_counters();
    connection(command)?;
    Ok(simulator.counters())
}
