// SPDX-License-Identifier: BSD-2-Clause
//! The server of the simulators' protocol from `tests/sim/mssim`, for one test.

use crate::server::{At, Emulator, Program, Socket};
use crate::stage;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// `mssim-server`, with a new TPM in it, its power off.
pub struct MssimServer {
    latency: u32,
}

/// A running simulator.
pub type Mssim = Emulator<MssimServer>;

impl Mssim {
    /// Starts one; each command takes `latency` milliseconds.
    pub fn start(socket: Socket, latency: u32) -> Mssim {
        Emulator::run(MssimServer { latency }, socket)
    }
}

impl Program for MssimServer {
    const MODULE: &'static str = "mssim";

    fn spawn(&self, dir: &TempDir, at: &At) -> Option<Child> {
        let mut command = stage::command("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(stage::sim("mssim-server"));
        match at {
            At::Port(port) => command.args(["--port", &port.to_string()]),
            At::Path(path) => command.arg("--path").arg(path),
        };
        // What it leaves when it is killed goes with the directory.
        command.args(["--latency", &self.latency.to_string()]).env("TMPDIR", dir.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.starts_with("listening") {
            return Some(child);
        }
        child.wait().unwrap();
        None
    }
}
