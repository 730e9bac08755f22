// SPDX-License-Identifier: BSD-2-Clause
//! Measures the time of one TPM command through our module, the C modules, and a minimal client of the protocol.

use crate::cell::{self, or_dash};
use crate::connection::{self, Connector, Library};
use crate::measure::{alternate, timed};
use crate::servers::Case;
use crate::syscalls;
use anyhow::{Context, Result};

/// The commands that one library sends in its turn.
#[derive(Clone, Copy)]
struct Turn {
    commands: usize,
    /// Commands before that, which are not measured.
    warm_up: usize,
}

const TURN: Turn = Turn { commands: 20, warm_up: 5 };
/// The commands and the number of turns for a module that waits for delayed acknowledgements.
const SLOW: Turn = Turn { commands: 2, warm_up: 1 };
const SLOW_TURNS: usize = 30;

/// Measures all cases and prints the table. `commands` is the number of commands of each kind.
pub(crate) fn print(cases: &[Case], commands: usize) -> Result<()> {
    let text = str::to_owned;
    for (index, case) in cases.iter().enumerate() {
        if index == 0 {
            let calls = case.versions().map(|version| format!("calls C {version}"));
            let cells = ["connection", "command", "ours"].map(text).into_iter();
            let cells = cells.chain(cell::versions(case.versions()));
            let cells = cells.chain(["floor", "ratio", "calls ours"].map(text)).chain(calls);
            println!("{}", cell::head(&cells.collect::<Vec<_>>()));
        }
        print_case(case, commands)?;
    }
    Ok(())
}

fn print_case(case: &Case, commands: usize) -> Result<()> {
    let (ours, theirs) = (case.ours(), case.theirs());
    let calls = |library: &Library| syscalls::per_command(library).map(|calls| format!("{calls:.1}"));
    let mut calls_of_all = vec![calls(&ours)?];
    for library in &theirs {
        calls_of_all.push(or_dash(library.as_ref().map(calls).transpose()?));
    }
    let turns = commands.div_ceil(TURN.commands);
    let turns = if case.slow_c() { turns.min(SLOW_TURNS) } else { turns };
    for command in case.commands() {
        let libraries = theirs.iter().map(|library| library.as_ref().map(Library::connector));
        let columns: Vec<Option<Connector>> =
            [Some(ours.connector())].into_iter().chain(libraries).chain([case.floor()]).collect();
        let is_slow = |column: usize| case.slow_c() && (1..=theirs.len()).contains(&column);
        let times = alternate(turns, columns.len(), |column| {
            let Some(connector) = columns.get(column).and_then(Option::as_ref) else { return Ok(Vec::new()) };
            let Turn { commands, warm_up } = if is_slow(column) { SLOW } else { TURN };
            let mut connection = connector()?;
            (0..warm_up).try_for_each(|_| connection::send(&mut connection, command))?;
            (0..commands)
                .map(|_| Ok(timed(|| connection::send(&mut connection, command))?.0))
                .collect::<Result<Vec<_>>>()
        })?;
        // A missing library has no times.
        let present = columns.iter().zip(&times).map(|(connector, times)| connector.as_ref().map(|_| times));
        let of_ours = times.first().context("no times")?;
        let names = [case.name.clone(), command.to_string(), of_ours.to_string()].into_iter();
        let cells = names.chain(cell::compared(of_ours, present.skip(1))).chain(calls_of_all.iter().cloned());
        println!("{}", cell::row(&cells.collect::<Vec<_>>()));
    }
    Ok(())
}
