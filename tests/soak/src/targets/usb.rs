// SPDX-License-Identifier: BSD-2-Clause
//! The module for the LetsTrust-TPM2Go on a simulated stick behind the kernel's USB stack, in a virtual machine.

use super::open;
use crate::target::{Abilities, BROKEN, Keeps, Now, Programs, Refusals, Strike, TAKEN, Target};
use fastrand::Rng;
use tcti_core::Result;
use tcti_core::Tcti;
use tss2_kit::simulator::{self, Simulator};

/// Faults that strike after a number of transfers, in the middle of a command.
const COUNTED: [&str; 12] = [
    "stall_control",
    "nak_control",
    "stall_out",
    "halt_out",
    "nak_out",
    "stall_in",
    "halt_in",
    "nak_in",
    "short_in",
    "long_in",
    "empty_in",
    "unplug",
];

const NAME_CONF: &str = "spi-ltt2go:soak";

/// Contexts on the stick.
pub(crate) struct Usb {
    stick: Simulator,
    /// The number of strikes when the last fault was made.
    before: u32,
}

impl Usb {
    /// Plugs a stick in.
    pub(crate) fn plug_in() -> Usb {
        Usb { stick: Simulator::plug_in("soak"), before: 0 }
    }
}

impl Target for Usb {
    fn slots(&self) -> usize {
        1
    }

    fn server(&self, _slot: usize) -> usize {
        0
    }

    fn open(&mut self, _slot: usize, _rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        open(NAME_CONF)
    }

    fn keeps(&self, _slot: usize) -> Keeps {
        Keeps::Tpm
    }

    fn strike(&mut self, _slot: usize, _now: Now, rng: &mut Rng) -> Option<Strike> {
        let fault = COUNTED[rng.usize(..COUNTED.len())];
        self.before = self.stick.strikes();
        self.stick.set(&format!("{fault}={}", rng.u8(..16)));
        Some(Strike { unloads: fault == "unplug", ..Strike::of_one(fault, BROKEN) })
    }

    fn heal(&mut self, _slot: usize) -> bool {
        self.stick.set("");
        // A stick that is plugged in already replies at once.
        assert!(self.stick.ask("plug").starts_with("ready "));
        self.stick.strikes() > self.before
    }

    fn abilities(&self) -> Abilities {
        // Processes cannot share a handle of libusb.
        Abilities {
            forks: false,
            refusals: Refusals::Tpm,
            largest: TAKEN,
            signals: true,
            cancel: false,
            locality: false,
            poll: false,
        }
    }

    fn rest(&mut self) -> Vec<String> {
        (simulator::claimed() > 0)
            .then(|| "the stick is claimed although no context is open".to_owned())
            .into_iter()
            .collect()
    }

    /// Reports violations of the USB protocol by the driver.
    fn finish(&mut self) -> Vec<std::result::Result<String, String>> {
        let offences = self.stick.ask("offences");
        let offences = (offences != "0").then(|| format!("protocol violations of the driver: {offences}"));
        self.rest().into_iter().chain(offences).map(Err).collect()
    }

    /// One process at a time can have the stick.
    fn programs(&self) -> Programs {
        Programs::Between(NAME_CONF.to_owned())
    }
}
