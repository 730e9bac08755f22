// SPDX-License-Identifier: BSD-2-Clause
//! The server of the simulators' protocol from `src/sim/mssim`, for one test.

use crate::server::{At, Socket, Tpm, free_port, signal};
use crate::stage;
use nix::sys::signal::Signal;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// A running simulator, its power off.
pub struct Mssim {
    child: Child,
    dir: TempDir,
    at: At,
    latency: u32,
}

impl Mssim {
    /// Starts one; each command takes `latency` milliseconds.
    pub fn start(socket: Socket, latency: u32) -> Mssim {
        let dir = tempfile::tempdir().unwrap();
        loop {
            let at = match socket {
                Socket::Tcp => At::Port(free_port()),
                Socket::Unix => At::Path(dir.path().join("sock")),
            };
            if let Some(child) = spawn(&dir, &at, latency) {
                return Mssim { child, dir, at, latency };
            }
            assert!(socket == Socket::Tcp, "mssim-server does not start"); // on TCP another program took the port
        }
    }

    /// Stops it without ending it.
    pub fn pause(&self) {
        signal(&self.child, Signal::SIGSTOP);
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after `kill`, at the same place, with a new TPM.
    pub fn restart(&mut self) {
        if let At::Path(path) = &self.at {
            for file in [path.clone(), path.with_extension("ctrl")] {
                let _ = fs::remove_file(file); // it may have ended before it made them
            }
        }
        let child = spawn(&self.dir, &self.at, self.latency);
        self.child = child.unwrap_or_else(|| panic!("mssim-server does not start again"));
    }

    /// Where it listens.
    pub fn at(&self) -> &At {
        &self.at
    }

    /// The configuration string of the module.
    pub fn conf(&self) -> String {
        self.at.conf()
    }
}

/// Starts the server and waits until it listens; `None` when it ended instead.
fn spawn(dir: &TempDir, at: &At, latency: u32) -> Option<Child> {
    let mut command = stage::command("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(stage::sim("mssim-server"));
    match at {
        At::Port(port) => command.args(["--port", &port.to_string()]),
        At::Path(path) => command.arg("--path").arg(path),
    };
    // What it leaves when it is killed goes with the directory.
    command.args(["--latency", &latency.to_string()]).env("TMPDIR", dir.path());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.starts_with("listening") {
        return Some(child);
    }
    child.wait().unwrap();
    None
}

impl Tpm for Mssim {
    fn name_conf(&self) -> String {
        format!("mssim:{}", self.conf())
    }
}

impl Drop for Mssim {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}
