// SPDX-License-Identifier: BSD-2-Clause
//! Measures a process at a reproducible point: after it has sent its first command to a server that does not respond, and while it
//! sleeps.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for the process.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Statistics of a sleeping process.
pub(super) struct Sleeping {
    /// Number of minor page faults.
    pub(super) faults: usize,
    /// Peak resident memory in KiB.
    pub(super) peak: usize,
    /// Private dirty memory in KiB.
    pub(super) private_dirty: usize,
}

/// Runs a program until it waits for its first response. `command` receives the path of a socket that acts as an swtpm: it
/// answers control commands, but no TPM commands.
pub(super) fn run(command: impl Fn(&Path) -> Command) -> Result<Sleeping> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("s");
    let (data, control) = (UnixListener::bind(&socket)?, UnixListener::bind(dir.path().join("s.ctrl"))?);
    // The module opens one control connection.
    let served = thread::spawn(move || accept_any_control(&control));
    let mut process = command(&socket).spawn()?;
    let measured = first_command(&data, &mut process).and_then(|_waiting| measure(&process));
    let killed = kill(&mut process);
    // If the process never connected, the thread still waits; do not join it.
    if measured.is_ok() {
        served.join().ok().context("the thread of the control channel panicked")??;
    }
    killed.and(measured)
}

/// Serves one control command, which has a code and possibly parameters. A response of four zero bytes means success.
fn accept_any_control(listener: &UnixListener) -> Result<()> {
    let (mut peer, _) = listener.accept()?;
    let mut command = [0; 64];
    ensure!(peer.read(&mut command)? > 4, "the control connection was closed without a command");
    Ok(peer.write_all(&[0; 4])?)
}

/// Returns the connection on which the first command arrives. Connections without a command only probe for the server.
fn first_command(listener: &UnixListener, process: &mut Child) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    loop {
        let mut peer = match listener.accept() {
            Ok((peer, _)) => peer,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                ensure!(process.try_wait()?.is_none(), "the process exited without sending a command");
                thread::yield_now();
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        peer.set_read_timeout(Some(TIMEOUT))?;
        if peer.read(&mut [0; 4096])? > 0 {
            return Ok(peer);
        }
    }
}

/// Waits until the process sleeps, and reads its statistics.
fn measure(process: &Child) -> Result<Sleeping> {
    let dir = Path::new("/proc").join(process.id().to_string());
    let deadline = Instant::now() + TIMEOUT;
    loop {
        // proc_pid_stat(5): the state is field 3, minor faults field 10. The name, field 2, is in parentheses.
        let stat = fs::read_to_string(dir.join("stat"))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        if field(3) == "S" {
            let faults = field(10).parse()?;
            let peak = kibibytes(&dir.join("status"), "VmHWM:")?;
            return Ok(Sleeping {
                faults,
                peak,
                private_dirty: kibibytes(&dir.join("smaps_rollup"), "Private_Dirty:")?,
            });
        }
        ensure!(Instant::now() < deadline, "the process does not sleep: {stat}");
        thread::yield_now();
    }
}

/// Reads a value in KiB from a file in /proc.
fn kibibytes(file: &Path, label: &str) -> Result<usize> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(label)).with_context(|| format!("no {label}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn kill(process: &mut Child) -> Result<()> {
    process.kill()?;
    process.wait()?;
    Ok(())
}
