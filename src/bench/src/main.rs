// SPDX-License-Identifier: BSD-2-Clause
//! `side-by-side`: times each module, the C module of the distribution and the floor of the protocol against one
//! server, in turn, and writes a table. Run it pinned to one core, as `cargo xtask bench` does: unpinned runs jump
//! between two speeds.

mod floor;
mod measure;
mod servers;
mod subject;
mod syscalls;

use anyhow::Result;
use clap::{Parser, Subcommand};
use measure::Figures;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use subject::Command;

/// Times TCTI modules side by side.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Measures everything and writes the table.
    Table {
        /// Directory of our libraries.
        #[arg(long)]
        ours: PathBuf,
        /// Directory of the distribution's C modules.
        #[arg(long)]
        theirs: PathBuf,
        /// The mssim server program.
        #[arg(long)]
        mssim_server: PathBuf,
        /// Commands per measurement.
        #[arg(long, default_value_t = 3000)]
        commands: usize,
        /// Where the table goes.
        #[arg(long)]
        output: PathBuf,
    },
    /// Sends so many GetRandom through one TCTI: what `strace -c` counts.
    Send { library: PathBuf, conf: String, commands: usize },
    /// Answers TPM commands on standard input with a fixed response: the command behind the TCTI cmd.
    Respond,
}

fn main() -> Result<()> {
    match Options::parse().mode {
        Mode::Table { ours, theirs, mssim_server, commands, output } => {
            let text = table(&servers::Parts { ours, theirs, mssim_server }, commands)?;
            print!("{text}");
            Ok(fs::write(output, text)?)
        }
        Mode::Send { library, conf, commands } => subject::send(&library, &conf, commands),
        Mode::Respond => servers::respond(),
    }
}

fn table(parts: &servers::Parts, commands: usize) -> Result<String> {
    let mut text = String::from(
        "# Modules side by side\n\nOne run, client and server on one core, in turn. Microseconds: median (p99). The ratio is \
         of the medians, ours to the other. System calls per command by strace.\n\n\
         | connection | command | ours | C module | ratio | floor | ratio | Init ours | Init C | calls ours | calls C |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for case in servers::cases(parts)? {
        let calls_ours = syscalls::per_command(&case.ours, &case.conf)?;
        let calls_theirs = match &case.theirs {
            Some(library) => syscalls::per_command(library, &case.conf_of_theirs)?,
            None => None,
        };
        for command in [Command::GetRandom, Command::GetCapability] {
            let mut subjects = vec![subject::module(&case.ours, &case.conf)];
            subjects.extend(case.theirs.as_ref().map(|library| subject::module(library, &case.conf_of_theirs)));
            subjects.push((case.floor)(&case));
            let has_theirs = case.theirs.is_some();
            let commands = if has_theirs && case.slow_c { commands.min(100) } else { commands };
            let figures = measure::in_turn(&subjects, command, commands)?;
            let (ours, rest) = (figures.first(), figures.get(1..).unwrap_or_default());
            let theirs = if has_theirs { rest.first() } else { None };
            let cell = |figures: Option<&Figures>| figures.map_or_else(|| "-".to_owned(), ToString::to_string);
            let ratio = |other: Option<&Figures>| match (ours, other) {
                (Some(ours), Some(other)) => format!("{:.3}", ours.median / other.median),
                _ => "-".to_owned(),
            };
            let init = |library: &PathBuf, conf: &str| measure::init(library, conf).map(|figures| figures.to_string());
            let init_theirs = match &case.theirs {
                Some(library) => init(library, &case.conf_of_theirs)?,
                None => "-".to_owned(),
            };
            let calls = |calls: &Option<f64>| calls.map_or_else(|| "-".to_owned(), |calls| format!("{calls:.1}"));
            writeln!(
                text,
                "| {} | {command} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                case.name,
                cell(ours),
                cell(theirs),
                ratio(theirs),
                cell(figures.last()),
                ratio(figures.last()),
                init(&case.ours, &case.conf)?,
                init_theirs,
                calls(&calls_ours),
                calls(&calls_theirs),
            )?;
        }
    }
    Ok(text)
}
