// SPDX-License-Identifier: BSD-2-Clause
//! The time of one TPM command: ours, the C module, and the floor of the protocol, against one server.

use crate::cell::{or_dash, ratio};
use crate::measure::{alternate, timed};
use crate::servers::Case;
use crate::subject::{self, Command};
use crate::syscalls;
use anyhow::{Context, Result};

/// What a subject sends before the next has its turn.
#[derive(Clone, Copy)]
struct Turn {
    commands: usize,
    /// Before them, and not counted.
    warm_up: usize,
}

const TURN: Turn = Turn { commands: 20, warm_up: 5 };
/// For a module that takes as long as a delayed acknowledgement, and how many of these.
const SLOW: Turn = Turn { commands: 2, warm_up: 1 };
const SLOW_TURNS: usize = 30;

/// The place of the C module among the subjects.
const THEIRS: usize = 1;

/// Prints the table.
pub(crate) fn print(cases: &[Case], commands: usize) -> Result<()> {
    println!("| connection | command | ours | C module | ratio | floor | ratio | calls ours | calls C |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for case in cases {
        let (ours, theirs) = (case.ours(), case.theirs());
        let calls = |subject: &subject::Library| syscalls::per_command(subject).map(|calls| format!("{calls:.1}"));
        let calls_ours = calls(&ours)?;
        let calls_theirs = theirs.as_ref().map(calls).transpose()?;
        for command in [Command::GetRandom, Command::GetCapability] {
            let mut subjects = vec![ours.subject()];
            subjects.extend(theirs.as_ref().map(subject::Library::subject));
            subjects.extend(case.floor());
            let turns = commands.div_ceil(TURN.commands);
            let turns = if case.slow_c() { turns.min(SLOW_TURNS) } else { turns };
            let times = alternate(turns, subjects.len(), |number| {
                let Turn { commands, warm_up } = if case.slow_c() && number == THEIRS { SLOW } else { TURN };
                let mut carrier = subjects.get(number).context("no such subject")?()?;
                (0..warm_up).try_for_each(|_| subject::carry(&mut carrier, command))?;
                (0..commands)
                    .map(|_| Ok(timed(|| subject::carry(&mut carrier, command))?.0))
                    .collect::<Result<Vec<_>>>()
            })?;
            let mut times = times.iter();
            let ours = times.next().context("no times")?;
            let theirs = theirs.as_ref().and_then(|_| times.next());
            let floor = times.next();
            println!(
                "| {} | {command} | {ours} | {} | {} | {} | {} | {calls_ours} | {} |",
                case.name,
                or_dash(theirs),
                ratio(theirs.map(|theirs| ours.ratio(theirs))),
                or_dash(floor),
                ratio(floor.map(|floor| ours.ratio(floor))),
                or_dash(calls_theirs.as_ref()),
            );
        }
    }
    Ok(())
}
