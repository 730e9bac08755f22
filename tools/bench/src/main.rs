// SPDX-License-Identifier: BSD-2-Clause
//! `side-by-side`: benchmarks our modules, one or more versions of the C modules, and a minimal client of each protocol. They take
//! turns. Each mode prints a table in Markdown; `cargo xtask bench` collects the tables. Pin this program to one core, as
//! `cargo xtask bench` does, because the speed on two cores varies between runs.

mod again;
mod cell;
mod commands;
mod connection;
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

mod syscalls;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use connection::Library;
use servers::Selection;
use std::path::PathBuf;

/// Benchmarks TCTI modules side by side.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Measures one TPM command over each connection.
    Commands {
        #[command(flatten)]
        selection: Selection,
        /// Number of commands of each kind.
        #[arg(long)]
        count: usize,
    },
    /// Measures the start of a program that sends one command.
    Start {
        #[command(flatten)]
        selection: Selection,
        /// Number of pairs of processes.
        #[arg(long)]
        count: usize,
    },
    /// Lists the sizes of the libraries.
    Sizes {
        #[command(flatten)]
        selection: Selection,
    },
    /// Measures concurrent contexts. Run this mode on all cores.
    Contexts {
        #[command(flatten)]
        selection: Selection,
        /// Total number of commands per round.
        #[arg(long)]
        count: usize,
    },
    /// Measures Init and Finalize.
    Cycles {
        #[command(flatten)]
        selection: Selection,
        /// Number of contexts of each connection.
        #[arg(long)]
        count: usize,
    },
    /// Like `commands` and `cycles`, on this kernel's TPM devices.
    Devices(GuestOptions),
    /// Like `commands` and `cycles`, on a simulated LetsTrust-TPM2Go behind this kernel's USB stack.
    Stick(GuestOptions),
    /// Measures TLS handshakes with a server whose key is in a TPM. Needs a virtual machine with nginx.
    Handshakes {
        #[command(flatten)]
        selection: Selection,
        /// Number of turns of each server.
        #[arg(long)]
        turns: usize,
        /// Number of handshakes per turn.
        #[arg(long)]
        count: usize,
    },
    /// Sends TPM2_GetRandom repeatedly through one module; run by the program itself under `strace -c`.
    Send { file: PathBuf, conf: String, commands: usize },
    /// Opens and finalizes contexts as requested on standard input; run by the program itself. `child` is the module that the
    /// measured module loads.
    Cycle { file: PathBuf, conf: String, child: Option<PathBuf> },
    /// Answers TPM commands on standard input with a fixed response; run as the command of the TCTI module cmd.
    Respond,
}

/// Options of measurements in a virtual machine.
#[derive(Args)]
struct GuestOptions {
    #[command(flatten)]
    selection: Selection,
    /// Number of commands of each kind.
    #[arg(long)]
    commands: usize,
    /// Number of contexts of each connection.
    #[arg(long)]
    contexts: usize,
}

/// Number of rounds with concurrent contexts.
const ROUNDS: usize = 10;

fn main() -> Result<()> {
    match Options::parse().mode {
        Mode::Commands { selection, count } => commands::print(&servers::cases(&selection)?, count),
        Mode::Start { selection, count } => start::print(&selection, count),
        Mode::Sizes { selection } => sizes::print(&selection),
        Mode::Contexts { selection, count } => contexts::print(&selection, ROUNDS, count),
        Mode::Cycles { selection, count } => {
            let mut cases = servers::cases(&selection)?;
            cases.extend(Some(servers::null(&selection)).filter(|case| case.name.contains(&selection.only)));
            cycles::print(&cases, count)
        }
        Mode::Devices(GuestOptions { selection, commands, contexts }) => {
            let cases = servers::devices(&selection);
            commands::print(&cases, commands)?;
            println!();
            cycles::print(&cases, contexts)
        }
        Mode::Stick(GuestOptions { selection, commands, contexts }) => stick::print(&selection, commands, contexts),
        Mode::Handshakes { selection, turns, count } => handshakes::print(&selection, turns, count),
        Mode::Send { file, conf, commands } => Library { file, conf }.send_commands(commands),
        Mode::Cycle { file, conf, child } => cycles::process::serve(&Library { file, conf }, child),
        Mode::Respond => servers::respond(),
    }
}
