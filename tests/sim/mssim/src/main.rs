// SPDX-License-Identifier: BSD-2-Clause
//! `mssim-server`: a server of the protocol of Microsoft's and IBM's TPM simulators over TCP or Unix sockets, with
//! libtpms as the TPM. Like the originals, it serves one connection per channel at a time, and writes the size, the
//! body and the trailer of a response separately, without TCP_NODELAY.

mod channels;
mod tpm;

use anyhow::{Context, Result};
use channels::Channel;
use clap::Parser;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tpm::PoweredTpm;

/// A server of the TPM simulators' protocol over libtpms.
#[derive(Parser)]
#[command(name = "mssim-server")]
struct Options {
    /// TCP port of the command channel; 0 takes a free one.
    #[arg(long, default_value_t = 2321)]
    port: u16,
    /// TCP port of the platform channel; 0 takes a free one [default: PORT + 1].
    #[arg(long)]
    platform_port: Option<u16>,
    /// Unix socket of the command channel, instead of TCP; the platform channel is at PATH.ctrl.
    #[arg(long)]
    path: Option<PathBuf>,
    /// How long each command takes, in milliseconds, unless it is cancelled.
    #[arg(long, default_value_t = 0)]
    latency: u64,
    /// The TCTI of libtpms: a name, or the path of the library.
    #[arg(long, default_value = "libtpms")]
    libtpms: String,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let tpm = Arc::new(PoweredTpm::new(&options.libtpms, Duration::from_millis(options.latency))?);
    let (commands, platform) = match &options.path {
        Some(path) => {
            let platform = PathBuf::from(format!("{}.ctrl", path.display()));
            let bind = |path: &PathBuf| UnixListener::bind(path).with_context(|| format!("cannot listen at {path:?}"));
            let (commands, platform) = (bind(path)?, bind(&platform)?);
            println!("listening at {}", path.display());
            (Channel::Unix(commands), Channel::Unix(platform))
        }
        None => {
            let next = if options.port == 0 { 0 } else { options.port.saturating_add(1) };
            let bind =
                |port| TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("cannot listen at {port}"));
            let commands = bind(options.port)?;
            let platform = bind(options.platform_port.unwrap_or(next))?;
            println!("listening at {} {}", commands.local_addr()?.port(), platform.local_addr()?.port());
            (Channel::Tcp(commands), Channel::Tcp(platform))
        }
    };
    let platform_tpm = Arc::clone(&tpm);
    thread::spawn(move || platform.serve(|peer| channels::platform(peer, &platform_tpm)));
    commands.serve(|peer| channels::commands(peer, &tpm));
    Ok(())
}
