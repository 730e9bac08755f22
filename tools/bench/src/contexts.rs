// SPDX-License-Identifier: BSD-2-Clause
//! Many contexts at once: threads of one process, each with a context and an swtpm of its own.

use crate::cell::{self, ratio};
use crate::measure::{Times, alternate, timed};
use crate::servers::{self, Parts};
use crate::subject::{self, Command, Library};
use anyhow::{Context, Result, anyhow};
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use tss2_kit::server::{SocketKind, Swtpm};

const CONTEXTS: [usize; 3] = [1, 16, 64];

/// Prints the table; `commands` is what each round sends, all contexts together.
pub(crate) fn print(parts: &Parts, rounds: usize, commands: usize) -> Result<()> {
    let most = CONTEXTS.into_iter().max().unwrap_or_default();
    let started = (0..most).map(|_| Swtpm::start(SocketKind::Unix)).collect::<Vec<_>>();
    let versions = || cell::versions(parts.theirs.iter().map(|theirs| theirs.version.as_str()));
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
        let dirs = [&parts.ours].into_iter().chain(parts.theirs.iter().map(|theirs| &theirs.dir));
        let libraries: Vec<Vec<Library>> = dirs.map(libraries).collect();
        let mut whole: Vec<Times> = libraries.iter().map(|_| Times::default()).collect();
        let single = alternate(rounds, libraries.len(), |number| {
            let round = together(libraries.get(number).context("no such library")?, each)?;
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

/// What a round took.
struct Round {
    /// Until each context had carried all of its commands.
    whole: Duration,
    /// Each command.
    commands: Vec<Duration>,
}

/// A round in which each context carries so many commands.
fn together(libraries: &[Library], commands: usize) -> Result<Round> {
    let start = Barrier::new(libraries.len() + 1);
    thread::scope(|scope| {
        let work = |library: &Library| -> Result<Vec<Duration>> {
            // The barrier comes first in any case: the others wait at it.
            let carrier = library.subject()().and_then(|mut carrier| {
                subject::carry(&mut carrier, Command::GetRandom)?;
                Ok(carrier)
            });
            start.wait();
            let mut carrier = carrier?;
            (0..commands).map(|_| Ok(timed(|| subject::carry(&mut carrier, Command::GetRandom))?.0)).collect()
        };
        let threads: Vec<_> = libraries.iter().map(|library| scope.spawn(move || work(library))).collect();
        start.wait();
        let begin = Instant::now();
        let joined = threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        let times = joined.collect::<Result<Vec<_>>>()?;
        Ok(Round { whole: begin.elapsed(), commands: times.concat() })
    })
}
