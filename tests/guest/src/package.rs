// SPDX-License-Identifier: BSD-2-Clause
//! The package with the udev rules, installed without our libraries on a system whose kernel has a TPM.
//! `TSS2_PACKAGES` names the directory with the packages; without it there are no tests.

use crate::udevd::{self, RULES};
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use tss2_kit::need::{Need, SETPRIV, SWTPM};
use tss2_kit::output;
use tss2_kit::simulator::{self, Simulator};
use tss2_kit::suite::Suite;

const NEEDS: [Need; 4] = [Need::Program("udevadm", "udev"), SETPRIV, SWTPM, Need::Root];

/// The order matters: udev does not revoke access that it has granted.
pub(crate) fn tests(suite: &mut Suite) {
    if env::var_os("TSS2_PACKAGES").is_some() {
        suite.test("package::the_rules_grant_the_group_access", &NEEDS, group);
        suite.test("package::the_seat_has_access_to_the_stick", &NEEDS, seat);
        suite.test("package::the_seat_has_access_to_the_tpm_when_enabled", &NEEDS, wanted);
    }
}

/// Starts udevd and installs the package.
static SYSTEM: LazyLock<()> = LazyLock::new(|| {
    udevd::start();
    udevd::mask_the_distribution();
    let dir = env::var_os("TSS2_PACKAGES").unwrap();
    let names = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let is_it =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tss2-tcti-udev_"));
    let package = names.into_iter().find(is_it).unwrap_or_else(|| panic!("no package tss2-tcti-udev"));
    let mut dpkg = Command::new("dpkg");
    output::succeed(
        dpkg.args(["--force-unsafe-io", "--install"]).arg(package).env("DEBIAN_FRONTEND", "noninteractive"),
    );
    udevd::settle();
});

/// Whether a user with a single group can open a device. None of our libraries is involved.
fn may_open(user: &str, group: &str, device: &Path) -> bool {
    let mut shell = Command::new("setpriv");
    shell.args(["--reuid", user, "--regid", group, "--clear-groups", "sh", "-c", ": <>\"$1\"", "sh"]).arg(device);
    output::run(&mut shell).status.success()
}

fn group() {
    LazyLock::force(&SYSTEM);
    let _stick = Simulator::plug_in("0042");
    udevd::settle();
    for device in [Path::new("/dev/tpmrm0"), &simulator::node()] {
        assert!(may_open("nobody", "tss", device), "{}", device.display());
        assert!(!may_open("nobody", "nogroup", device), "{}", device.display());
    }
    assert!(!may_open("nobody", "tss", Path::new("/dev/tpm0")));
}

fn seat() {
    LazyLock::force(&SYSTEM);
    udevd::sit_down("nobody");
    let _stick = Simulator::plug_in("0043");
    udevd::settle();
    assert!(may_open("nobody", "nogroup", &simulator::node()));
    assert!(!may_open("nobody", "nogroup", Path::new("/dev/tpmrm0")));
}

/// Enables the rules for the seat with the commands of docs/install.md for packages.
fn wanted() {
    LazyLock::force(&SYSTEM);
    udevd::sit_down("nobody");
    let rules = "60-tss2-tcti-seat.rules";
    symlink(Path::new("/usr/share/tss2-tcti/udev").join(rules), Path::new(RULES).join(rules)).unwrap();
    udevd::trigger();
    assert!(may_open("nobody", "nogroup", Path::new("/dev/tpmrm0")));
    assert!(!may_open("nobody", "nogroup", Path::new("/dev/tpm0")));
}
