// SPDX-License-Identifier: BSD-2-Clause
//! A new TPM for one run of the machine: a swtpm that QEMU puts behind the registers which the kernel's driver knows.

use anyhow::{Context, Result, bail, ensure};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// How often a swtpm that starts is asked, every 2 ms. On a busy machine that takes longer, as all does.
const LOOKS: usize = 15_000;

/// A running swtpm.
pub(crate) struct Tpm {
    child: Child,
    socket: PathBuf,
}

impl Tpm {
    /// Starts one with its state and its socket in `dir`.
    pub(crate) fn start(dir: &Path) -> Result<Tpm> {
        let socket = dir.join("sock");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--flags", "startup-clear"]);
        command.arg("--tpmstate").arg(format!("dir={}", dir.display()));
        command.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot run setpriv; is util-linux installed?")?;
        let mut tpm = Tpm { child, socket };
        for _ in 0..LOOKS {
            if UnixStream::connect(&tpm.socket).is_ok() {
                return Ok(tpm);
            }
            let ended = tpm.child.try_wait().context("cannot look after swtpm")?;
            ensure!(ended.is_none(), "swtpm does not start; is it installed?");
            thread::sleep(Duration::from_millis(2)); // only how often to ask
        }
        bail!("swtpm does not listen at {}", tpm.socket.display())
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What QEMU has to be told.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let chardev = format!("socket,id=chrtpm,path={}", self.socket.display());
        let words =
            ["-chardev", &chardev, "-tpmdev", "emulator,id=tpm0,chardev=chrtpm", "-device", "tpm-tis,tpmdev=tpm0"];
        words.map(str::to_owned).to_vec()
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}
