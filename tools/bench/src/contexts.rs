// SPDX-License-Identifier: BSD-2-Clause
//! Measures concurrent contexts: threads of one process, each with its own context and swtpm.

use crate::cell::{self, ratio};
use crate::connection::{self, Command, Library};
use crate::measure::{Times, alternate, timed};
use crate::servers::{self, Selection};
use anyhow::{Context, Result, anyhow};
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use tss2_kit::server::{SocketKind, Swtpm};

const CONTEXTS: [usize; 3] = [1, 16, 64];

/// Measures and prints the table. `commands` is the total number of commands of all contexts in a round.
pub(crate) fn print(selection: &Selection, rounds: usize, commands: usize) -> Result<()> {
    let most = CONTEXTS.into_iter().max().unwrap_or_default();
    let started = (0..most).map(|_| Swtpm::start(SocketKind::Unix)).collect::<Vec<_>>();
    let versions = || cell::versions(selection.theirs.iter().map(|theirs| theirs.version.as_str()));
    let cells = ["contexts", "ours, commands per second"].map(str::to_owned).into_iter().chain(versions());
    let cells = cells.chain(["ours, a command".to_owned()]).chain(versions());
    println!("{}", cell::head(&cells.collect::<Vec<_>>()));
    for contexts in CONTEXTS {
        let each = commands.div_ceil(contexts);
        let libraries = |dir: &PathBuf| -> Vec<Library> {
            let file = servers::module(dir, "swtpm");
            let library = |tpm: &Swtpm| Library { file: file.clone(), conf: tpm.conf() };
            started.iter().take(contexts).map(library).collect()
        };
        let dirs = [&selection.ours].into_iter().chain(selection.theirs.iter().map(|theirs| &theirs.dir));
        let libraries: Vec<Vec<Library>> = dirs.map(libraries).collect();
        let mut whole: Vec<Times> = libraries.iter().map(|_| Times::default()).collect();
        let single = alternate(rounds, libraries.len(), |number| {
            let round = run_round(libraries.get(number).context("no such library")?, each)?;
            whole.get_mut(number).context("no such library")?.add([round.whole]);
            Ok::<_, anyhow::Error>(round.commands)
        })?;
        let (ours, one_of_ours) = (whole.first().context("no times")?, single.first().context("no times")?);
        let per_second = |times: &Times| format!("{:.0}", (contexts * each) as f64 * 1e6 / times.median());
        let rates = whole.iter().skip(1).flat_map(|theirs| [per_second(theirs), ratio(Some(ours.ratio(theirs)))]);
        let cells = [contexts.to_string(), per_second(ours)].into_iter().chain(rates);
        let cells = cells.chain([one_of_ours.to_string()]);
        let cells = cells.chain(cell::compared(one_of_ours, single.iter().skip(1).map(Some)));
        println!("{}", cell::row(&cells.collect::<Vec<_>>()));
    }
    Ok(())
}

/// The times of a round.
struct Round {
    /// Until all contexts have sent all of their commands.
    whole: Duration,
    /// Of each command.
    commands: Vec<Duration>,
}

/// Runs a round in which each context sends this number of commands.
fn run_round(libraries: &[Library], commands: usize) -> Result<Round> {
    let start = Barrier::new(libraries.len() + 1);
    thread::scope(|scope| {
        let work = |library: &Library| -> Result<Vec<Duration>> {
            // Reach the barrier even after an error, because the other threads wait for it.
            let connection = library.connector()().and_then(|mut connection| {
                connection::send(&mut connection, Command::GetRandom)?;
                Ok(connection)
            });
            start.wait();
            let mut connection = connection?;
            (0..commands).map(|_| Ok(timed(|| connection::send(&mut connection, Command::GetRandom))?.0)).collect()
        };
        let threads: Vec<_> = libraries.iter().map(|library| scope.spawn(move || work(library))).collect();
        start.wait();
        let begin = Instant::now();
        let joined = threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        let times = joined.collect::<Result<Vec<_>>>()?;
        Ok(Round { whole: begin.elapsed(), commands: times.concat() })
    })
}
