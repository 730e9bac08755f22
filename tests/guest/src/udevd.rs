// SPDX-License-Identifier: BSD-2-Clause
//! A real udevd in a system without user and group tss.

use std::fs;
use std::path::Path;
use std::process::Command;
use tss2_kit::output;

/// The directory for rules of the administrator.
pub(crate) const RULES: &str = "/etc/udev/rules.d";
/// The distribution's rules for TPMs.
const DISTRIBUTION: &str = "60-tpm-udev.rules";

/// Removes user and group tss, and starts udevd.
pub(crate) fn start() {
    // Some machines have them from packages of the distribution.
    for command in [["userdel", "tss"], ["groupdel", "tss"]] {
        output::run(Command::new(command[0]).arg(command[1]));
    }
    fs::create_dir_all(RULES).unwrap();
    output::succeed(Command::new("/lib/systemd/systemd-udevd").arg("--daemon"));
}

/// Masks the distribution's rules for TPMs, from the next [`trigger`] on.
pub(crate) fn mask_the_distribution() {
    std::os::unix::fs::symlink("/dev/null", Path::new(RULES).join(DISTRIBUTION)).unwrap();
}

/// Has udevd read its rules and apply them to the TPMs.
pub(crate) fn trigger() {
    output::succeed(Command::new("udevadm").args(["control", "--reload"]));
    let trigger = ["trigger", "--action=add", "--subsystem-match=tpm", "--subsystem-match=tpmrm"];
    output::succeed(Command::new("udevadm").args(trigger));
    settle();
}

/// Waits until udevd has processed all events.
pub(crate) fn settle() {
    output::succeed(Command::new("udevadm").arg("settle"));
}

/// Makes this user the active one at the seat, in the file that logind writes.
pub(crate) fn sit_down(user: &str) {
    fs::create_dir_all("/run/systemd/seats").unwrap();
    let uid = output::succeed(Command::new("id").args(["-u", user]));
    fs::write("/run/systemd/seats/seat0", format!("ACTIVE=1\nACTIVE_UID={uid}")).unwrap();
}
