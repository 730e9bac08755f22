// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's resource manager, in a virtual machine: several contexts at once, neighbours that are killed.

use super::open;
use crate::descriptors::Exhausted;
use crate::place::{Abilities, Moment, NO_DESCRIPTORS, Place, Reach, Strike};
use crate::tcti::Tcti;
use fastrand::Rng;
use std::process::{Child, Stdio};
use tcti_core::Result;
use tss2_e2e::stage;

const NAME_CONF: &str = "device:/dev/tpmrm0";

/// Contexts on the device.
#[derive(Default)]
pub(crate) struct Device {
    exhausted: Option<Exhausted>,
    neighbour: Option<Child>,
}

impl Device {
    fn kill_neighbour(&mut self) {
        if let Some(mut neighbour) = self.neighbour.take() {
            let _ = neighbour.kill(); // it may have ended already
            neighbour.wait().unwrap();
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

    fn strike(&mut self, _slot: usize, moment: Moment, rng: &mut Rng) -> Option<Strike> {
        match rng.u8(..4) {
            0 if moment != Moment::Due && self.exhausted.is_none() => {
                self.exhausted = Exhausted::now();
                Some(Strike {
                    fault: "no more descriptors",
                    codes: NO_DESCRIPTORS,
                    reach: Reach::Process,
                    endless: true,
                })
            }
            1.. if self.neighbour.is_none() => {
                // Killed with a command under way, or a key in the TPM.
                let mut tool = stage::command("tpm2_createprimary");
                tool.args(["-Q", "-G", "ecc", "-T", NAME_CONF]);
                self.neighbour = tool.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok();
                Some(Strike { fault: "a killed neighbour", codes: &[], reach: Reach::One, endless: false })
            }
            _ => None,
        }
    }

    fn heal(&mut self, _slot: usize) {
        self.exhausted = None;
        self.kill_neighbour();
    }

    fn abilities(&self) -> Abilities {
        Abilities { cancel: false, locality: false, poll: true }
    }

    fn for_tools(&self) -> Option<String> {
        Some(NAME_CONF.to_owned())
    }

    fn finish(&mut self) -> Vec<String> {
        self.kill_neighbour();
        Vec::new()
    }
}
