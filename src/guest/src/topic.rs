// SPDX-License-Identifier: BSD-2-Clause
//! The topics. Each is a file with tests named `TOPIC::...`, and has a machine of its own.

use crate::{cuse, device, forks, opening, package, refused, servers, stick, systemd, udev};
use tss2_e2e::reliability::{self, Place};
use tss2_e2e::suite::Suite;

/// Tests that run in one machine, and what that machine has.
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    /// Megabytes.
    memory: u32,
    /// More than one where several programs have to be in the same place at the same time.
    processors: u32,
    /// Whether the kernel has a TPM.
    tpm: bool,
    /// Whether there are nginx, Apache and haproxy.
    servers: bool,
    pub(crate) tests: fn(&mut Suite),
}

/// What most have.
const PLAIN: Topic = Topic { name: "", memory: 310, processors: 1, tpm: true, servers: false, tests: |_| () };

/// The longest come first, so that two machines at a time are done early.
pub(crate) const TOPICS: &[Topic] = &[
    Topic { name: "servers", memory: 400, processors: 2, servers: true, tests: servers::tests, ..PLAIN },
    Topic { name: "stick", tpm: false, tests: stick::tests, ..PLAIN },
    Topic { name: "reliability", tests: |suite| reliability::tests(suite, Place::Guest), ..PLAIN },
    Topic { name: "forks", tests: forks::tests, ..PLAIN },
    Topic { name: "device", tests: device::tests, ..PLAIN },
    Topic { name: "refused", tests: refused::tests, ..PLAIN },
    Topic { name: "opening", tests: opening::tests, ..PLAIN },
    Topic { name: "cuse", tpm: false, tests: cuse::tests, ..PLAIN },
    Topic { name: "systemd", memory: 768, tests: systemd::tests, ..PLAIN },
    Topic { name: "udev", tests: udev::tests, ..PLAIN },
    Topic { name: "package", tests: package::tests, ..PLAIN },
];

/// Prints a line for each: name, memory, processors, `tpm` or `no-tpm`, `servers` or `no-servers`.
pub(crate) fn print() {
    for Topic { name, memory, processors, tpm, servers, .. } in TOPICS {
        let [tpm, servers] = [(tpm, "tpm"), (servers, "servers")].map(|(has, what)| match has {
            true => what.to_owned(),
            false => format!("no-{what}"),
        });
        println!("{name} {memory} {processors} {tpm} {servers}");
    }
}
