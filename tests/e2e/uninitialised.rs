// SPDX-License-Identifier: BSD-2-Clause
//! A swtpm that is not initialised, because it was started without `--flags not-need-init`.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tss2_kit::need::{CC, Need, PKG_CONFIG, SETPRIV, SWTPM};
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};

const NEEDS: [Need; 4] = [CC, PKG_CONFIG, SETPRIV, SWTPM];
/// How long swtpm may take to listen; it takes far less.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("uninitialised::the_log_says_what_to_do", &NEEDS, explained);
    suite.test("uninitialised::init_true_initialises_it", &NEEDS, initialised);
}

struct Uninitialised {
    server: Child,
    dir: TempDir,
}

impl Uninitialised {
    fn start() -> Uninitialised {
        let dir = tempfile::tempdir().unwrap();
        let socket = |name: &str| format!("type=unixio,path={}", dir.path().join(name).display());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--server", &socket("s"), "--ctrl"]);
        command.arg(socket("s.ctrl")).arg("--tpmstate").arg(format!("dir={}", dir.path().display()));
        let server = command.spawn().unwrap();
        let swtpm = Uninitialised { server, dir };
        let since = Instant::now();
        while UnixStream::connect(swtpm.socket().with_extension("ctrl")).is_err() {
            assert!(since.elapsed() < TIMEOUT, "swtpm does not listen");
            std::thread::yield_now();
        }
        swtpm
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn open(&self, more: &str) -> Command {
        let mut command = stage::command(program::link_tctildr());
        command.arg(format!("swtpm:path={}{more}", self.socket().display()));
        command
    }
}

impl Drop for Uninitialised {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn explained() {
    let swtpm = Uninitialised::start();
    let printed = output::stderr(&output::run(&mut swtpm.open("")));
    let about: Vec<&str> = printed.lines().filter(|line| line.starts_with("WARNING:tcti:")).collect();
    let said = "answers TPM_RC_FAILURE (0x101), as a swtpm does that was not initialised: start it with --flags \
                not-need-init,startup-clear, or open it with init=true";
    assert!(matches!(about[..], [line] if line.ends_with(said)), "{printed}");
}

/// The next program finds the state that the one before left.
fn initialised() {
    let swtpm = Uninitialised::start();
    for more in [",init=true", ",init=true", ""] {
        let output = output::run(&mut swtpm.open(more));
        assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
        assert_eq!(output::stdout(&output).trim().len(), 16);
    }
}
