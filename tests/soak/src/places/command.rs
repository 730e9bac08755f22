// SPDX-License-Identifier: BSD-2-Clause
//! A TPM behind a command, tpm2_send with a libtpms in its memory: what is loaded and written is gone with the command. It is
//! killed, and started again by the module.

use super::open;
use crate::place::{Abilities, BROKEN, Keeps, Moment, Now, Place, Reach, Refusals, Strike, TAKEN};
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
    /// Contexts whose TPM is a new one.
    new: Vec<bool>,
}

const SLOTS: usize = 2;
/// How long a command may take to end after all contexts.
const END: Duration = Duration::from_secs(10);

impl Command {
    pub(crate) fn new() -> Command {
        Command { dir: tempfile::tempdir().unwrap(), new: vec![false; SLOTS] }
    }

    /// Where the command says which process it is.
    fn number(&self, slot: usize) -> PathBuf {
        self.dir.path().join(slot.to_string())
    }

    /// The process, when it is there.
    fn process(&self, slot: usize) -> Option<Pid> {
        let number: i32 = fs::read_to_string(self.number(slot)).ok()?.trim().parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
        (name.trim() == PROGRAM).then(|| Pid::from_raw(number))
    }
}

impl Place for Command {
    fn slots(&self) -> usize {
        SLOTS
    }

    fn server(&self, slot: usize) -> usize {
        slot
    }

    fn open(&mut self, slot: usize, _rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        self.new[slot] = true;
        // It tells of the end of its input.
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
        let _ = fs::remove_file(self.number(slot)); // the next one makes its own
        Some(Strike { reach: Reach::Memory, unloads: true, ..Strike::of_one("a killed command", BROKEN) })
    }

    fn heal(&mut self, _slot: usize) -> bool {
        true // whoever uses it next starts it again
    }

    /// Where a context was finalized before a forked process was done with its command, nobody has waited for that.
    fn finish(&mut self) -> Vec<std::result::Result<String, String>> {
        let since = Instant::now();
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                if since.elapsed() > END {
                    return vec![Err(format!("a command, {END:?} after its last context was finalized"))];
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
