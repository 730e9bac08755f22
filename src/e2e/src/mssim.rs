// SPDX-License-Identifier: BSD-2-Clause
//! The server of the simulators' protocol from `src/sim/mssim`, for one test.

use crate::server::{Socket, Tpm, free_port};
use crate::stage;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// A running simulator, its power off.
pub struct Mssim {
    child: Child,
    dir: TempDir,
    at: Option<u16>,
}

impl Mssim {
    /// Starts one; each command takes `latency` milliseconds.
    pub fn start(socket: Socket, latency: u32) -> Mssim {
        let dir = tempfile::tempdir().unwrap();
        loop {
            let at = (socket == Socket::Tcp).then(free_port);
            let mut command = stage::command("setpriv");
            command.args(["--pdeathsig", "KILL"]).arg(stage::sim("mssim-server"));
            match at {
                Some(port) => command.args(["--port", &port.to_string()]),
                None => command.arg("--path").arg(dir.path().join("sock")),
            };
            command.args(["--latency", &latency.to_string()]);
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            if line.starts_with("listening") {
                return Mssim { child, dir, at };
            }
            child.wait().unwrap();
            assert!(socket == Socket::Tcp, "mssim-server does not start"); // on TCP another program took the port
        }
    }

    /// The configuration string of the module.
    pub fn conf(&self) -> String {
        match self.at {
            Some(port) => format!("host=127.0.0.1,port={port}"),
            None => format!("path={}", self.dir.path().join("sock").display()),
        }
    }
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
