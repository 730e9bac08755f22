// SPDX-License-Identifier: BSD-2-Clause
//! Many contexts at once: threads of one process, each with a context and an swtpm of its own.

use crate::cell::ratio;
use crate::measure::alternate;
use crate::servers::{self, Parts};
use crate::subject::{self, Command, Library};
use anyhow::{Context, Result, anyhow};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use tss2_e2e::server::{Socket, Swtpm};

const CONTEXTS: [usize; 3] = [1, 16, 64];

/// Prints the table; `commands` is what each round sends, all contexts together.
pub(crate) fn print(parts: &Parts, rounds: usize, commands: usize) -> Result<()> {
    let most = CONTEXTS.into_iter().max().unwrap_or_default();
    let started = (0..most).map(|_| Swtpm::start(Socket::Unix)).collect::<Vec<_>>();
    println!("| contexts | ours, commands per second | C module | ratio |\n|---|---|---|---|");
    for contexts in CONTEXTS {
        let each = commands.div_ceil(contexts);
        let libraries = [&parts.ours, &parts.theirs].map(|dir| -> Vec<Library> {
            let file = servers::module(dir, "swtpm");
            let library = |tpm: &Swtpm| Library { file: file.clone(), conf: tpm.conf() };
            started.iter().take(contexts).map(library).collect()
        });
        let times = alternate(rounds, libraries.len(), |number| {
            Ok::<_, anyhow::Error>(vec![together(libraries.get(number).context("no such library")?, each)?])
        })?;
        let [ours, theirs] = times.as_slice() else { anyhow::bail!("two libraries") };
        let per_second = |micros: f64| (contexts * each) as f64 * 1e6 / micros;
        println!(
            "| {contexts} | {:.0} | {:.0} | {} |",
            per_second(ours.median()),
            per_second(theirs.median()),
            ratio(Some(ours.ratio(theirs)))
        );
    }
    Ok(())
}

/// How long it takes until each context has carried so many commands.
fn together(libraries: &[Library], commands: usize) -> Result<Duration> {
    let start = Barrier::new(libraries.len() + 1);
    thread::scope(|scope| {
        let work = |library: &Library| -> Result<()> {
            // The barrier comes first in any case: the others wait at it.
            let carrier = library.subject()().and_then(|mut carrier| {
                subject::carry(&mut carrier, Command::GetRandom)?;
                Ok(carrier)
            });
            start.wait();
            let mut carrier = carrier?;
            (0..commands).try_for_each(|_| subject::carry(&mut carrier, Command::GetRandom))
        };
        let threads: Vec<_> = libraries.iter().map(|library| scope.spawn(move || work(library))).collect();
        start.wait();
        let begin = Instant::now();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)?;
        Ok(begin.elapsed())
    })
}
