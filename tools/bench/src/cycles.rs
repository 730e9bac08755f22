// SPDX-License-Identifier: BSD-2-Clause
//! Measures Init and Finalize over thousands of contexts: the time of both, the time of Finalize alone, and the growth of memory
//! and file descriptors. Each library runs in a separate [`process`]; the processes take turns.

pub(crate) mod process;

use crate::cell::{self, or_dash};
use crate::connection::Library;
use crate::measure::{Times, alternate};
use crate::servers::Case;
use anyhow::{Context, Result};
use process::{Part, Process, Usage};

/// Number of turns of each process.
const TURNS: usize = 50;
/// Factor by which there are fewer contexts when Finalize alone is measured, because each of them sends a command.
const FINALIZE_DIVISOR: usize = 10;

/// Measures and prints two tables.
pub(crate) fn print(cases: &[Case], cycles: usize) -> Result<()> {
    let Some(first) = cases.first() else { return Ok(()) };
    let text = str::to_owned;
    let columns = |unit: &str| {
        let theirs = first.versions().map(move |version| format!("{unit} C {version}"));
        [format!("{unit} ours")].into_iter().chain(theirs).collect::<Vec<_>>()
    };
    let cells = ["connection", "contexts", "ours"].map(text).into_iter().chain(cell::versions(first.versions()));
    let cells = cells.chain(columns("KiB")).chain(columns("descriptors"));
    println!("{}", cell::head(&cells.collect::<Vec<_>>()));
    cases.iter().try_for_each(|case| print_cycles(case, cycles))?;

    println!("\nFinalize alone, after one command:\n");
    let cells = ["connection", "contexts", "ours"].map(text).into_iter().chain(cell::versions(first.versions()));
    println!("{}", cell::head(&cells.collect::<Vec<_>>()));
    cases
        .iter()
        .filter(|case| case.has_tpm())
        .try_for_each(|case| print_finalize(case, cycles.div_ceil(FINALIZE_DIVISOR)))
}

fn print_cycles(case: &Case, cycles: usize) -> Result<()> {
    let mut processes = Processes::start(case)?;
    let turn = cycles.div_ceil(TURNS);
    // Create some contexts before, because libraries allocate memory once on first use.
    let before = processes.usage(turn)?;
    let times = processes.cycle(Part::Cycle, turn)?;
    let after = processes.usage(turn)?;
    let growth: Vec<Option<Usage>> =
        before.iter().zip(&after).map(|(before, after)| Some(after.as_ref()?.since(before.as_ref()?))).collect();
    let grown = |figure: fn(&Usage) -> i64| growth.iter().map(move |grown| or_dash(grown.as_ref().map(figure)));
    let cells = processes.cells(case, turn * TURNS, &times)?.into_iter();
    let cells = cells.chain(grown(|grown| grown.memory)).chain(grown(|grown| grown.descriptors));
    println!("{}", cell::row(&cells.collect::<Vec<_>>()));
    Ok(())
}

fn print_finalize(case: &Case, cycles: usize) -> Result<()> {
    let mut processes = Processes::start(case)?;
    let turn = if case.slow_c() { 1 } else { cycles.div_ceil(TURNS) };
    let times = processes.cycle(Part::Finalize, turn)?;
    println!("{}", cell::row(&processes.cells(case, turn * TURNS, &times)?));
    Ok(())
}

/// The processes of our library and of each version of the C library, if it exists.
struct Processes(Vec<Option<Process>>);

impl Processes {
    fn start(case: &Case) -> Result<Processes> {
        let child = case.child()?;
        let start = |library: Library| Process::start(&library, child.as_deref());
        let libraries = [Some(case.ours())].into_iter().chain(case.theirs());
        Ok(Processes(libraries.map(|library| library.map(start).transpose()).collect::<Result<_>>()?))
    }

    /// Runs this number of cycles and returns the resources that each process then uses.
    fn usage(&mut self, count: usize) -> Result<Vec<Option<Usage>>> {
        let mut cycle = |process: &mut Option<Process>| {
            let series = process.as_mut().map(|process| process.cycle(Part::Cycle, count)).transpose()?;
            Ok(series.map(|(_, usage)| usage))
        };
        self.0.iter_mut().map(&mut cycle).collect()
    }

    /// Runs all turns, with `count` contexts in each. A missing library has no times.
    fn cycle(&mut self, part: Part, count: usize) -> Result<Vec<Times>> {
        alternate(TURNS, self.0.len(), |number| match self.0.get_mut(number).and_then(Option::as_mut) {
            Some(process) => Ok(process.cycle(part, count)?.0),
            None => Ok(Vec::new()),
        })
    }

    /// Returns the cells at the start of a row.
    fn cells(&self, case: &Case, contexts: usize, times: &[Times]) -> Result<Vec<String>> {
        let ours = times.first().context("no times")?;
        let present = self.0.iter().zip(times).map(|(process, times)| process.as_ref().map(|_| times));
        let names = [case.name.clone(), contexts.to_string(), ours.to_string()].into_iter();
        Ok(names.chain(cell::compared(ours, present.skip(1))).collect())
    }
}
