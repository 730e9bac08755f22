// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's resource manager, in a virtual machine: several contexts at the same time, and other programs that are
//! killed. The objects of a context live as long as its descriptor, which survives errors and the ends of forked
//! processes.

use super::open;
use crate::descriptors::Exhausted;
use crate::kernel;
use crate::target::{Abilities, Keeps, Moment, NO_DESCRIPTORS, Now, Programs, Refusals, Strike, Target};
use fastrand::Rng;
use nix::sys::signal::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::Instant;
use tcti_core::Result;
use tcti_core::Tcti;
use tss2_kit::stage;

const NAME_CONF: &str = "device:/dev/tpmrm0";

/// Contexts on the device.
#[derive(Default)]
pub(crate) struct Device {
    exhausted: Option<Exhausted>,
    other: Option<Child>,
    crashes: Vec<String>,
}

impl Device {
    /// Returns whether it was still running.
    fn kill_other(&mut self) -> bool {
        let Some(mut other) = self.other.take() else { return false };
        other.kill().unwrap();
        let status = other.wait().unwrap();
        match status.signal().map(Signal::try_from) {
            Some(Ok(Signal::SIGKILL)) => true,
            // It had finished, or the TPM had no room for its key.
            None => false,
            Some(_) => {
                self.crashes.push(format!("the other program ended with {status}"));
                false
            }
        }
    }
}

impl Target for Device {
    fn slots(&self) -> usize {
        3
    }

    fn server(&self, _slot: usize) -> usize {
        0
    }

    fn open(&mut self, _slot: usize, _rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        open(NAME_CONF)
    }

    fn keeps(&self, _slot: usize) -> Keeps {
        Keeps::Connection
    }

    fn strike(&mut self, _slot: usize, now: Now, rng: &mut Rng) -> Option<Strike> {
        match rng.u8(..4) {
            0 if now.moment != Moment::Due && now.calm => {
                self.exhausted = Exhausted::now();
                Some(Strike::of_process("no free descriptors", NO_DESCRIPTORS))
            }
            1.. if self.other.is_none() => {
                // It is killed while a command is in progress, or with a key in the TPM.
                let mut tool = stage::command("tpm2_createprimary");
                tool.args(["-Q", "-G", "ecc", "-T", NAME_CONF]);
                self.other = tool.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok();
                Some(Strike::of_one("another program is killed", &[]))
            }
            _ => None,
        }
    }

    fn heal(&mut self, _slot: usize) -> bool {
        self.exhausted = None;
        self.kill_other()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            forks: true,
            refusals: Refusals::Driver,
            largest: 20_000,
            signals: true,
            cancel: false,
            locality: false,
            poll: true,
        }
    }

    fn outside(&self) -> fn(Instant) -> bool {
        kernel::has_complained
    }

    fn programs(&self) -> Programs {
        Programs::Concurrent(NAME_CONF.to_owned(), Keeps::Connection)
    }

    fn finish(&mut self) -> Vec<std::result::Result<String, String>> {
        self.kill_other();
        self.crashes.drain(..).map(Err).collect()
    }
}
