// SPDX-License-Identifier: BSD-2-Clause
//! `side-by-side`: our modules, one or more versions of the C modules and the floor of each protocol, in turn. Each mode
//! prints a table in Markdown; `cargo xtask bench` puts them together. Run it pinned to one core, as that does: unpinned
//! runs jump between two speeds.

mod again;
mod cell;
mod commands;
mod contexts;
mod cycles;
mod floor;
mod handshakes;
mod measure;
mod servers;
mod sizes;
mod start;
mod state_file;
mod stick;
mod subject;
mod syscalls;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use servers::Parts;
use std::path::PathBuf;
use subject::Library;

/// Times TCTI modules side by side.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// One TPM command over each connection.
    Commands {
        #[command(flatten)]
        parts: Parts,
        /// Commands of each kind.
        #[arg(long)]
        count: usize,
    },
    /// A program that starts and asks one thing.
    Start {
        #[command(flatten)]
        parts: Parts,
        /// Pairs of processes.
        #[arg(long)]
        count: usize,
    },
    /// The size of the libraries.
    Sizes {
        #[command(flatten)]
        parts: Parts,
    },
    /// Many contexts at once. Not to be pinned.
    Contexts {
        #[command(flatten)]
        parts: Parts,
        /// Commands per round.
        #[arg(long)]
        count: usize,
    },
    /// Contexts that are made and finalized.
    Cycles {
        #[command(flatten)]
        parts: Parts,
        /// Contexts of each connection.
        #[arg(long)]
        count: usize,
    },
    /// As `commands` and `cycles`, on the devices of this kernel.
    Devices(Both),
    /// As `commands` and `cycles`, on a simulated stick on the USB of this kernel.
    Stick(Both),
    /// Handshakes with a server whose key is in a TPM; in a virtual machine that has nginx.
    Handshakes {
        #[command(flatten)]
        parts: Parts,
        /// Turns of each server.
        #[arg(long)]
        turns: usize,
        /// Handshakes in a turn.
        #[arg(long)]
        count: usize,
    },
    /// Sends so many GetRandom through one TCTI: what `strace -c` counts.
    Send { file: PathBuf, conf: String, commands: usize },
    /// Makes and finalizes contexts as each line of standard input says.
    /// `carrier` is the module that it opens.
    Cycle { file: PathBuf, conf: String, carrier: Option<PathBuf> },
    /// Answers TPM commands on standard input with a fixed response: the command behind the TCTI cmd.
    Respond,
}

/// What is measured in a virtual machine.
#[derive(Args)]
struct Both {
    #[command(flatten)]
    parts: Parts,
    /// Commands of each kind.
    #[arg(long)]
    commands: usize,
    /// Contexts of each connection.
    #[arg(long)]
    contexts: usize,
}

/// Rounds with many contexts.
const ROUNDS: usize = 10;

fn main() -> Result<()> {
    match Options::parse().mode {
        Mode::Commands { parts, count } => commands::print(&servers::cases(&parts)?, count),
        Mode::Start { parts, count } => start::print(&parts, count),
        Mode::Sizes { parts } => sizes::print(&parts),
        Mode::Contexts { parts, count } => contexts::print(&parts, ROUNDS, count),
        Mode::Cycles { parts, count } => {
            let mut cases = servers::cases(&parts)?;
            cases.extend(Some(servers::null(&parts)).filter(|case| case.name.contains(&parts.only)));
            cycles::print(&cases, count)
        }
        Mode::Devices(Both { parts, commands, contexts }) => {
            let cases = servers::devices(&parts);
            commands::print(&cases, commands)?;
            println!();
            cycles::print(&cases, contexts)
        }
        Mode::Stick(Both { parts, commands, contexts }) => stick::print(&parts, commands, contexts),
        Mode::Handshakes { parts, turns, count } => handshakes::print(&parts, turns, count),
        Mode::Send { file, conf, commands } => Library { file, conf }.send(commands),
        Mode::Cycle { file, conf, carrier } => cycles::process::serve(&Library { file, conf }, carrier),
        Mode::Respond => servers::respond(),
    }
}
