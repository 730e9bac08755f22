// SPDX-License-Identifier: BSD-2-Clause
//! A context is made and finalized thousands of times: how long that takes, how long its end alone, and what of it stays
//! in the process. Each library has a [`process`] of its own; they have their turns.

pub(crate) mod process;

use crate::cell::{self, or_dash};
use crate::measure::{Times, alternate};
use crate::servers::Case;
use crate::subject::Library;
use anyhow::{Context, Result};
use process::{Holdings, Part, Process};

/// Turns of each process.
const TURNS: usize = 50;
/// Contexts of which the end alone is timed are fewer by this factor: each carries a command.
const FEWER: usize = 10;

/// Prints two tables.
pub(crate) fn print(cases: &[Case], cycles: usize) -> Result<()> {
    let Some(first) = cases.first() else { return Ok(()) };
    let text = str::to_owned;
    let of_all = |what: &str| {
        let theirs = first.versions().map(move |version| format!("{what} C {version}"));
        [format!("{what} ours")].into_iter().chain(theirs).collect::<Vec<_>>()
    };
    let cells = ["connection", "contexts", "ours"].map(text).into_iter().chain(cell::versions(first.versions()));
    let cells = cells.chain(of_all("KiB")).chain(of_all("descriptors"));
    println!("{}", cell::head(&cells.collect::<Vec<_>>()));
    cases.iter().try_for_each(|case| print_both(case, cycles))?;

    println!("\nFinalize alone, after one command:\n");
    let cells = ["connection", "contexts", "ours"].map(text).into_iter().chain(cell::versions(first.versions()));
    println!("{}", cell::head(&cells.collect::<Vec<_>>()));
    cases.iter().filter(|case| case.carries_commands()).try_for_each(|case| print_end(case, cycles.div_ceil(FEWER)))
}

fn print_both(case: &Case, cycles: usize) -> Result<()> {
    let mut processes = Processes::start(case)?;
    let turn = cycles.div_ceil(TURNS);
    // What a library keeps from its first context on does not grow.
    let before = processes.holdings(turn)?;
    let times = processes.cycle(Part::Both, turn)?;
    let after = processes.holdings(turn)?;
    let growth: Vec<Option<Holdings>> =
        before.iter().zip(&after).map(|(before, after)| Some(after.as_ref()?.since(before.as_ref()?))).collect();
    let grown = |figure: fn(&Holdings) -> i64| growth.iter().map(move |grown| or_dash(grown.as_ref().map(figure)));
    let cells = processes.cells(case, turn * TURNS, &times)?.into_iter();
    let cells = cells.chain(grown(|grown| grown.memory)).chain(grown(|grown| grown.descriptors));
    println!("{}", cell::row(&cells.collect::<Vec<_>>()));
    Ok(())
}

fn print_end(case: &Case, cycles: usize) -> Result<()> {
    let mut processes = Processes::start(case)?;
    let turn = if case.slow_c() { 1 } else { cycles.div_ceil(TURNS) };
    let times = processes.cycle(Part::End, turn)?;
    println!("{}", cell::row(&processes.cells(case, turn * TURNS, &times)?));
    Ok(())
}

/// One for ours and one for each version of the C library, where there is one.
struct Processes(Vec<Option<Process>>);

impl Processes {
    fn start(case: &Case) -> Result<Processes> {
        let carrier = case.carrier()?;
        let start = |library: Library| Process::start(&library, carrier.as_deref());
        let libraries = [Some(case.ours())].into_iter().chain(case.theirs());
        Ok(Processes(libraries.map(|library| library.map(start).transpose()).collect::<Result<_>>()?))
    }

    /// What each holds after so many contexts more.
    fn holdings(&mut self, count: usize) -> Result<Vec<Option<Holdings>>> {
        let mut cycle = |process: &mut Option<Process>| {
            let done = process.as_mut().map(|process| process.cycle(Part::Both, count)).transpose()?;
            Ok(done.map(|(_, holdings)| holdings))
        };
        self.0.iter_mut().map(&mut cycle).collect()
    }

    /// Turn by turn, so many contexts in each. One that is absent has no times.
    fn cycle(&mut self, part: Part, count: usize) -> Result<Vec<Times>> {
        alternate(TURNS, self.0.len(), |number| match self.0.get_mut(number).and_then(Option::as_mut) {
            Some(process) => Ok(process.cycle(part, count)?.0),
            None => Ok(Vec::new()),
        })
    }

    /// What a row begins with.
    fn cells(&self, case: &Case, contexts: usize, times: &[Times]) -> Result<Vec<String>> {
        let ours = times.first().context("no times")?;
        let present = self.0.iter().zip(times).map(|(process, times)| process.as_ref().map(|_| times));
        let names = [case.name.clone(), contexts.to_string(), ours.to_string()].into_iter();
        Ok(names.chain(cell::compared(ours, present.skip(1))).collect())
    }
}
