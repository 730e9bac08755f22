// SPDX-License-Identifier: BSD-2-Clause
//! A process at one moment: it has sent its first command to a server that does not answer, and sleeps. What the kernel
//! says of it then is the same in each run.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// What the kernel says of the process.
pub(super) struct Asleep {
    pub(super) faults: usize,
    /// In KiB.
    pub(super) peak: usize,
    /// In KiB.
    pub(super) private_dirty: usize,
}

/// Runs the program that `command` makes, which gets the socket of an swtpm that serves control commands alone.
pub(super) fn run(command: impl Fn(&Path) -> Command) -> Result<Asleep> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("s");
    let (data, control) = (UnixListener::bind(&socket)?, UnixListener::bind(dir.path().join("s.ctrl"))?);
    // Ends with the listener's last connection: the module makes one.
    let served = thread::spawn(move || accept_any_control(&control));
    let mut process = command(&socket).spawn()?;
    let looked = first_command(&data, &mut process).and_then(|_waiting| look(&process));
    let ended = end(&mut process);
    // A process that never came leaves the thread to its wait.
    if looked.is_ok() {
        served.join().ok().context("the control channel")??;
    }
    ended.and(looked)
}

/// A control command has a code and perhaps a parameter; four zeros mean that it was done.
fn accept_any_control(listener: &UnixListener) -> Result<()> {
    let (mut peer, _) = listener.accept()?;
    let mut command = [0; 64];
    ensure!(peer.read(&mut command)? > 4, "no control command");
    Ok(peer.write_all(&[0; 4])?)
}

/// The connection on which the first command came; those without one only ask whether somebody is there.
fn first_command(listener: &UnixListener, process: &mut Child) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    loop {
        let mut peer = match listener.accept() {
            Ok((peer, _)) => peer,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                ensure!(process.try_wait()?.is_none(), "the process has ended without a command");
                thread::yield_now();
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        peer.set_read_timeout(Some(PATIENCE))?;
        if peer.read(&mut [0; 4096])? > 0 {
            return Ok(peer);
        }
    }
}

fn look(process: &Child) -> Result<Asleep> {
    let dir = Path::new("/proc").join(process.id().to_string());
    let give_up = Instant::now() + PATIENCE;
    loop {
        // proc_pid_stat(5): fields 3 and 10, counted after the name, which is in parentheses.
        let stat = fs::read_to_string(dir.join("stat"))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        if field(3) == "S" {
            let faults = field(10).parse()?;
            let peak = kibibytes(&dir.join("status"), "VmHWM:")?;
            return Ok(Asleep { faults, peak, private_dirty: kibibytes(&dir.join("smaps_rollup"), "Private_Dirty:")? });
        }
        ensure!(Instant::now() < give_up, "the process does not wait for its response: {stat}");
        thread::yield_now();
    }
}

fn kibibytes(file: &Path, label: &str) -> Result<usize> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(label)).with_context(|| format!("no {label}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn end(process: &mut Child) -> Result<()> {
    process.kill()?;
    process.wait()?;
    Ok(())
}
