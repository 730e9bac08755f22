// SPDX-License-Identifier: BSD-2-Clause
//! `tpm2go`: plugs a simulated LetsTrust-TPM2Go into this kernel's virtual USB host controller (vhci-hcd) and reads
//! commands from stdin. It prints `ready PORT` when the kernel has enumerated the stick. When it exits, the stick is
//! unplugged.
#![forbid(unsafe_code)]

mod command;
mod console;
mod server;
mod uevents;
mod vhci;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use server::Server;
use sim_tis::TctiTpm;
use sim_tpm2go::{Faults, Stick};
use std::ffi::CString;
use std::time::Duration;

/// A simulated LetsTrust-TPM2Go in this kernel's virtual USB host controller.
///
/// Commands, one per line on stdin; each is answered by one line:
/// counters, reset-counters, faults [KEY=VALUE,...], latency-us N, unplug, plug, locality, offences.
#[derive(Parser)]
#[command(name = "tpm2go", verbatim_doc_comment)]
struct Options {
    /// The serial number.
    #[arg(long)]
    serial: String,
    /// The TCTI of the TPM behind it, as NAME:CONF.
    #[arg(long)]
    tpm: String,
    /// How long each USB transfer takes, in microseconds.
    #[arg(long, default_value_t = 0)]
    latency_us: u64,
    /// Faults: KEY=VALUE,... with keys such as stall_in. The value 3 means the transfer after the first three, 3+ all
    /// transfers after them.
    #[arg(long, default_value = "")]
    faults: String,
}

fn main() -> Result<()> {
    let options = Options::parse();
    tcti_core::log::init();
    let faults =
        Faults::parse(&options.faults).map_err(|_| anyhow!("--faults {} is not understood", options.faults))?;
    let faults = Faults { latency: Duration::from_micros(options.latency_us), ..faults };
    let name_conf = CString::new(options.tpm.as_str()).context("--tpm has a zero byte")?;
    let chip = TctiTpm::open(&name_conf).map_err(|rc| anyhow!("cannot open the TPM {}: {rc:?}", options.tpm))?;
    Server::new(Stick::new(&options.serial, chip, faults))?.run()
}
