// SPDX-License-Identifier: BSD-2-Clause
//! A real udevd in a system that has no user and no group tss.

use std::fs;
use std::path::Path;
use std::process::Command;
use tss2_kit::output;

/// Where an administrator puts rules.
pub(crate) const RULES: &str = "/etc/udev/rules.d";
/// The distribution's rules for TPMs.
const DISTRIBUTION: &str = "60-tpm-udev.rules";

/// Starts it.
pub(crate) fn start() {
    // From the distribution's packages, and not on every machine.
    for command in [["userdel", "tss"], ["groupdel", "tss"]] {
        output::run(Command::new(command[0]).arg(command[1]));
    }
    fs::create_dir_all(RULES).unwrap();
    output::succeed(Command::new("/lib/systemd/systemd-udevd").arg("--daemon"));
}

/// From the next `trigger` on the distribution's rules for TPMs are not there.
pub(crate) fn mask_the_distribution() {
    std::os::unix::fs::symlink("/dev/null", Path::new(RULES).join(DISTRIBUTION)).unwrap();
}

/// Has it read its rules and apply them to the TPMs.
pub(crate) fn trigger() {
    output::succeed(Command::new("udevadm").args(["control", "--reload"]));
    let trigger = ["trigger", "--action=add", "--subsystem-match=tpm", "--subsystem-match=tpmrm"];
    output::succeed(Command::new("udevadm").args(trigger));
    settle();
}

/// Waits until it has done all its work.
pub(crate) fn settle() {
    output::succeed(Command::new("udevadm").arg("settle"));
}

/// This user sits at the machine, as logind would note it.
pub(crate) fn sit_down(user: &str) {
    fs::create_dir_all("/run/systemd/seats").unwrap();
    let uid = output::succeed(Command::new("id").args(["-u", user]));
    fs::write("/run/systemd/seats/seat0", format!("ACTIVE=1\nACTIVE_UID={uid}")).unwrap();
}
