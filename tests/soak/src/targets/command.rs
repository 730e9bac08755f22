// SPDX-License-Identifier: BSD-2-Clause
//! A TPM behind a command: tpm2_send with a libtpms in its memory. Loaded and written data is lost with the command. It
//! is killed, and the module starts it again.

use super::open;
use crate::target::{Abilities, BROKEN, Keeps, Moment, Now, Reach, Refusals, Strike, TAKEN, Target};
use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use tcti_core::Result;
use tcti_core::Tcti;
use tempfile::TempDir;

const PROGRAM: &str = "tpm2_send";

/// Contexts, each with a command of its own.
pub(crate) struct Command {
    dir: TempDir,
    /// Whether the TPM of each context is a new one.
    new: Vec<bool>,
}

const SLOTS: usize = 2;
/// How long a command may take to end after the last context.
const END: Duration = Duration::from_secs(10);

impl Command {
    pub(crate) fn new() -> Command {
        Command { dir: tempfile::tempdir().unwrap(), new: vec![false; SLOTS] }
    }

    /// Returns the path of the file with the command's process ID.
    fn number(&self, slot: usize) -> PathBuf {
        self.dir.path().join(slot.to_string())
    }

    /// Returns the process of the command, if it is running.
    fn process(&self, slot: usize) -> Option<Pid> {
        let number: i32 = fs::read_to_string(self.number(slot)).ok()?.trim().parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
        (name.trim() == PROGRAM).then(|| Pid::from_raw(number))
    }
}

impl Target for Command {
    fn slots(&self) -> usize {
        SLOTS
    }

    fn server(&self, slot: usize) -> usize {
        slot
    }

    fn open(&mut self, slot: usize, _rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        self.new[slot] = true;
        // tpm2_send prints an error when its input ends.
        open(&format!("cmd:echo $$ > {}; exec {PROGRAM} -T libtpms: 2>/dev/null", self.number(slot).display()))
    }

    fn keeps_memory(&mut self, slot: usize) -> bool {
        !std::mem::take(&mut self.new[slot])
    }

    fn keeps(&self, _slot: usize) -> Keeps {
        Keeps::Connection
    }

    fn strike(&mut self, slot: usize, now: Now, _rng: &mut Rng) -> Option<Strike> {
        if now.moment == Moment::Open {
            return None;
        }
        kill(self.process(slot)?, Signal::SIGKILL).ok()?;
        let _ = fs::remove_file(self.number(slot)); // the next command writes a new one
        Some(Strike { reach: Reach::Memory, unloads: true, ..Strike::of_one("a killed command", BROKEN) })
    }

    fn heal(&mut self, _slot: usize) -> bool {
        true // the next call starts it again
    }

    /// Waits for the commands. When a context is finalized before a forked process is done with its command, nobody
    /// else waits for it.
    fn finish(&mut self) -> Vec<std::result::Result<String, String>> {
        let since = Instant::now();
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                if since.elapsed() > END {
                    return vec![Err(format!("a command is running {END:?} after its last context was finalized"))];
                }
                thread::sleep(Duration::from_millis(1)); // how often to look
            }
        }
        Vec::new()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            forks: true,
            refusals: Refusals::Tpm,
            largest: TAKEN,
            signals: true,
            cancel: false,
            locality: false,
            poll: true,
        }
    }
}
