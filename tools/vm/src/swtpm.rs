// SPDX-License-Identifier: BSD-2-Clause
//! A TPM for one run of the machine: an swtpm process. QEMU connects to it and emulates the TIS registers that the kernel's
//! driver uses.

use anyhow::{Context, Result, bail, ensure};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// How often to try to connect, every 2 ms, while swtpm starts.
const ATTEMPTS: usize = 15_000;

/// A running swtpm, which is killed when this value is dropped.
pub(crate) struct Swtpm {
    child: Child,
    socket: PathBuf,
}

impl Swtpm {
    /// Starts swtpm with its state and its control socket in `dir`, and waits until it accepts connections.
    pub(crate) fn start(dir: &Path) -> Result<Swtpm> {
        let socket = dir.join("sock");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--flags", "startup-clear"]);
        command.arg("--tpmstate").arg(format!("dir={}", dir.display()));
        command.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot run setpriv; is util-linux installed?")?;
        let mut swtpm = Swtpm { child, socket };
        for _ in 0..ATTEMPTS {
            if UnixStream::connect(&swtpm.socket).is_ok() {
                return Ok(swtpm);
            }
            let status = swtpm.child.try_wait().context("cannot wait for swtpm")?;
            ensure!(status.is_none(), "swtpm exited immediately; is it installed?");
            thread::sleep(Duration::from_millis(2)); // polling interval
        }
        bail!("swtpm does not listen at {}", swtpm.socket.display())
    }

    /// Returns the process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the arguments for QEMU.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let chardev = format!("socket,id=chrtpm,path={}", self.socket.display());
        let words =
            ["-chardev", &chardev, "-tpmdev", "emulator,id=tpm0,chardev=chrtpm", "-device", "tpm-tis,tpmdev=tpm0"];
        words.map(str::to_owned).to_vec()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have exited already
        let _ = self.child.wait();
    }
}
