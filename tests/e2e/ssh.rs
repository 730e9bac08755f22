// SPDX-License-Identifier: BSD-2-Clause
//! A real sshd on the loopback interface, with keys and a configuration of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use tss2_kit::output;
use tss2_kit::server::free_port;
use tss2_kit::waiting::wait_until;

/// A running sshd. It accepts one key, for the user that runs the test.
pub(crate) struct Sshd {
    child: Child,
    dir: TempDir,
    port: u16,
}

impl Sshd {
    /// Starts one on a free port.
    pub(crate) fn start() -> Sshd {
        let dir = tempfile::tempdir().unwrap();
        for name in ["host", "user"] {
            let key = dir.path().join(name);
            output::succeed(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key));
        }
        // sshd needs this directory, which otherwise only its service creates.
        let _ = fs::create_dir_all("/run/sshd");
        let port = free_port();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let conf = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\nAcceptEnv LD_LIBRARY_PATH\n",
            path("host"),
            path("user.pub")
        );
        fs::write(path("sshd_config"), conf).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "/usr/sbin/sshd", "-D", "-e", "-f", &path("sshd_config")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let sshd = Sshd { child, dir, port };
        wait_until("an sshd that listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        sshd
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns a shell command that runs `command` through ssh, with the staged libraries.
    pub(crate) fn command(&self, command: &str) -> String {
        format!(
            "ssh -p {} -i {} -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile={} -o LogLevel=ERROR \
             -o SendEnv=LD_LIBRARY_PATH 127.0.0.1 {command}",
            self.port,
            self.path("user").display(),
            self.path("known_hosts").display()
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}
