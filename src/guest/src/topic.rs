// SPDX-License-Identifier: BSD-2-Clause
//! The topics. Each is a file with tests named `TOPIC::...`, and has a machine of its own.

use crate::{cuse, device, forks, opening, package, refused, stick, systemd, udev, web};
use tss2_e2e::reliability::{self, Place};
use tss2_e2e::suite::Suite;

/// Tests that run in one machine, and what that machine has.
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    /// Megabytes.
    memory: u32,
    /// Whether the kernel has a TPM.
    tpm: bool,
    pub(crate) tests: fn(&mut Suite),
}

/// The longest come first, so that two machines at a time are done early.
pub(crate) const TOPICS: &[Topic] = &[
    Topic { name: "web", memory: 400, tpm: true, tests: web::tests },
    Topic { name: "stick", memory: 310, tpm: false, tests: stick::tests },
    Topic { name: "reliability", memory: 310, tpm: true, tests: |suite| reliability::tests(suite, Place::Guest) },
    Topic { name: "forks", memory: 310, tpm: true, tests: forks::tests },
    Topic { name: "device", memory: 310, tpm: true, tests: device::tests },
    Topic { name: "refused", memory: 310, tpm: true, tests: refused::tests },
    Topic { name: "opening", memory: 310, tpm: true, tests: opening::tests },
    Topic { name: "cuse", memory: 310, tpm: false, tests: cuse::tests },
    Topic { name: "systemd", memory: 768, tpm: true, tests: systemd::tests },
    Topic { name: "udev", memory: 310, tpm: true, tests: udev::tests },
    Topic { name: "package", memory: 310, tpm: true, tests: package::tests },
];

/// Prints name, memory and `tpm` or `no-tpm` of each.
pub(crate) fn print() {
    for Topic { name, memory, tpm, .. } in TOPICS {
        println!("{name} {memory} {}", if *tpm { "tpm" } else { "no-tpm" });
    }
}
