// SPDX-License-Identifier: BSD-2-Clause
//! A server of the simulators' protocol from `tests/sim/mssim`, for one test.

use crate::server::{Address, Emulator, EmulatorProgram, SocketKind};
use crate::stage;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// `mssim-server` with a new TPM, which is powered off.
pub struct MssimProgram {
    latency: u32,
}

/// A running `mssim-server`.
pub type Mssim = Emulator<MssimProgram>;

impl Mssim {
    /// Starts one; each command takes `latency` milliseconds.
    pub fn start(socket: SocketKind, latency: u32) -> Mssim {
        Emulator::run(MssimProgram { latency }, socket)
    }
}

impl EmulatorProgram for MssimProgram {
    const MODULE: &'static str = "mssim";

    fn spawn(&self, dir: &TempDir, at: &Address) -> Option<Child> {
        let mut command = stage::command("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(stage::sim("mssim-server"));
        match at {
            Address::Port(port) => command.args(["--port", &port.to_string()]),
            Address::Path(path) => command.arg("--path").arg(path),
        };
        // Its temporary files are deleted with the directory, also when it is killed.
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
