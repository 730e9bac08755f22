// SPDX-License-Identifier: BSD-2-Clause
//! The topics: [`TOPICS`]. Each is a file with tests named `TOPIC::...`, and runs in a machine of its own.

use crate::{cuse, device, early_boot, forks, opening, package, refused, servers, stick, systemd, udev};
use tss2_kit::suite::Suite;
use tss2_reliability::{self as reliability, Environment};

/// Tests that run in one machine, and the properties of this machine.
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    /// Megabytes.
    memory: u32,
    /// More than one for tests in which several programs have to run at the same time.
    processors: u32,
    /// Whether the kernel has a TPM.
    tpm: bool,
    /// Programs that are not installed on the host, as `cargo xtask vm --with` names them.
    with: &'static str,
    pub(crate) tests: fn(&mut Suite),
}

/// The properties of most machines.
const PLAIN: Topic = Topic { name: "", memory: 310, processors: 1, tpm: true, with: "nothing", tests: |_| () };

/// A machine with memory for a volume and an initramfs.
const EARLY_BOOT: Topic = Topic { memory: 900, with: "early-boot", ..PLAIN };

/// The longest come first, so that two machines in parallel finish early.
pub(crate) const TOPICS: &[Topic] = &[
    Topic { name: "servers", memory: 400, processors: 2, with: "servers", tests: servers::tests, ..PLAIN },
    Topic { name: "dracut", tests: early_boot::tests_dracut, ..EARLY_BOOT },
    Topic { name: "initramfs", tests: early_boot::tests_initramfs_tools, ..EARLY_BOOT },
    Topic { name: "stick", tpm: false, tests: stick::tests, ..PLAIN },
    Topic { name: "reliability", tests: |suite| reliability::tests(suite, Environment::Guest), ..PLAIN },
    Topic { name: "forks", tests: forks::tests, ..PLAIN },
    Topic { name: "device", tests: device::tests, ..PLAIN },
    Topic { name: "refused", tests: refused::tests, ..PLAIN },
    Topic { name: "opening", tests: opening::tests, ..PLAIN },
    Topic { name: "cuse", tpm: false, tests: cuse::tests, ..PLAIN },
    Topic { name: "systemd", memory: 768, tests: systemd::tests, ..PLAIN },
    Topic { name: "udev", tests: udev::tests, ..PLAIN },
    Topic { name: "package", tests: package::tests, ..PLAIN },
];

/// Prints a line for each topic: name, memory, processors, `tpm` or `no-tpm`, and the programs.
pub(crate) fn print() {
    for Topic { name, memory, processors, tpm, with, .. } in TOPICS {
        let tpm = if *tpm { "tpm" } else { "no-tpm" };
        println!("{name} {memory} {processors} {tpm} {with}");
    }
}
