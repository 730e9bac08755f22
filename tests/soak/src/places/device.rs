// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's resource manager, in a virtual machine: several contexts at once, neighbours that are killed.
//! What a context has loaded lives as long as its descriptor, which no error ends and no process that was forked.

use super::open;
use crate::descriptors::Exhausted;
use crate::kernel;
use crate::place::{Abilities, Keeps, Moment, NO_DESCRIPTORS, Now, Place, Programs, Refusals, Strike};
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
    neighbour: Option<Child>,
    crashes: Vec<String>,
}

impl Device {
    /// Whether it was still there.
    fn kill_neighbour(&mut self) -> bool {
        let Some(mut neighbour) = self.neighbour.take() else { return false };
        neighbour.kill().unwrap();
        let status = neighbour.wait().unwrap();
        match status.signal().map(Signal::try_from) {
            Some(Ok(Signal::SIGKILL)) => true,
            // It was done, or the TPM had no room for its key.
            None => false,
            Some(_) => {
                self.crashes.push(format!("a neighbour ended with {status}"));
                false
            }
        }
    }
}

impl Place for Device {
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
                Some(Strike::of_process("no more descriptors", NO_DESCRIPTORS))
            }
            1.. if self.neighbour.is_none() => {
                // Killed with a command under way, or a key in the TPM.
                let mut tool = stage::command("tpm2_createprimary");
                tool.args(["-Q", "-G", "ecc", "-T", NAME_CONF]);
                self.neighbour = tool.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok();
                Some(Strike::of_one("a killed neighbour", &[]))
            }
            _ => None,
        }
    }

    fn heal(&mut self, _slot: usize) -> bool {
        self.exhausted = None;
        self.kill_neighbour()
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
        Programs::Beside(NAME_CONF.to_owned(), Keeps::Connection)
    }

    fn finish(&mut self) -> Vec<std::result::Result<String, String>> {
        self.kill_neighbour();
        self.crashes.drain(..).map(Err).collect()
    }
}
