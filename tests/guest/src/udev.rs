// SPDX-License-Identifier: BSD-2-Clause
//! The udev rules and the sysusers file of `dist`, as they are staged, with a real udevd: who can open which device.

use crate::udevd::{self, RULES};
use crate::user::PublicCopy;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use tss2_kit::need::{Need, SETPRIV, SWTPM};
use tss2_kit::simulator::Simulator;
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

const UDEV: [Need; 4] =
    [Need::Program("udevadm", "udev"), Need::Program("systemd-sysusers", "systemd"), SETPRIV, Need::Root];

/// A code of the TCTI layer, which is the exit status of `link-tctildr`.
const NOT_PERMITTED: i32 = 0xc;

/// The order matters: udev does not revoke access that it has granted.
pub(crate) fn tests(suite: &mut Suite) {
    suite.test("udev::sysusers_creates_the_user_and_the_group", &UDEV, sysusers);
    suite.test("udev::the_rules_set_owner_and_group_of_each_device", &UDEV, || owners(false));
    let both = [&UDEV[..], &[Need::File("/lib/udev/rules.d/60-tpm-udev.rules", "tpm-udev")]].concat();
    suite.test("udev::the_rules_work_together_with_those_of_the_distribution", &both, || owners(true));
    suite.test("udev::the_message_for_a_user_outside_the_group", &UDEV, message);
    suite.test("udev::the_group_can_open_a_stick", &[&UDEV[..], &[SWTPM]].concat(), stick);
    suite.test("udev::the_seat_has_no_access_by_default", &UDEV, || seat(false));
    suite.test("udev::the_seat_has_access_when_enabled", &UDEV, || seat(true));
    suite.test("udev::the_rules_are_read_without_warnings", &UDEV, warnings);
}

/// Starts udevd and creates our user and group.
static SYSTEM: LazyLock<()> = LazyLock::new(|| {
    udevd::start();
    output::succeed(Command::new("systemd-sysusers").arg(staged("lib/sysusers.d/tss2-tcti.conf")));
});

fn staged(path: &str) -> PathBuf {
    stage::root().join(path)
}

/// Has udevd apply these rules, and the distribution's for TPMs only if `distribution` is set.
fn apply(rules: &[PathBuf], distribution: bool) {
    LazyLock::force(&SYSTEM);
    for old in fs::read_dir(RULES).unwrap().flatten() {
        fs::remove_file(old.path()).unwrap();
    }
    for rule in rules {
        symlink(rule, Path::new(RULES).join(rule.file_name().unwrap())).unwrap();
    }
    if !distribution {
        udevd::mask_the_distribution();
    }
    udevd::trigger();
}

fn ours() -> PathBuf {
    staged("lib/udev/rules.d/60-tss2-tcti.rules")
}

fn for_the_seat() -> PathBuf {
    staged("share/tss2-tcti/udev/60-tss2-tcti-seat.rules")
}

fn warnings() {
    let all = [ours(), for_the_seat()];
    apply(&all, false);
    let test = output::run(Command::new("udevadm").args(["test", "--action=add", "/sys/class/tpmrm/tpmrm0"]));
    let said = output::stderr(&test);
    for path in all.map(|rules| Path::new(RULES).join(rules.file_name().unwrap())) {
        let path = path.to_str().unwrap();
        assert!(said.contains(&format!("Reading rules file: {path}")), "{said}");
        assert!(!said.lines().any(|line| line.starts_with(path)), "{said}"); // a warning begins with FILE:LINE
    }
}

fn sysusers() {
    LazyLock::force(&SYSTEM);
    let user = output::succeed(Command::new("getent").args(["passwd", "tss"]));
    assert!(user.contains(":TPM software stack:") && user.ends_with("nologin\n"), "{user}");
    output::succeed(Command::new("getent").args(["group", "tss"]));
}

fn owners(distribution: bool) {
    apply(&[ours()], distribution);
    let stat = |device: &str| output::succeed(Command::new("stat").args(["-c", "%a %U:%G", device]));
    assert_eq!(stat("/dev/tpm0"), "660 tss:root\n");
    assert_eq!(stat("/dev/tpmrm0"), "660 tss:tss\n");
    for device in ["/dev/tpm0", "/dev/tpmrm0"] {
        let properties = output::succeed(Command::new("udevadm").args(["info", "--query=property", device]));
        assert!(properties.contains(":systemd:"), "{device}: {properties}");
    }
    let copy = PublicCopy::new();
    for (user, group, bare, shared) in [
        ("root", "root", true, true),
        ("tss", "tss", true, true),
        ("nobody", "tss", false, true),
        ("nobody", "nogroup", false, false),
    ] {
        for (device, may) in [("/dev/tpm0", bare), ("/dev/tpmrm0", shared)] {
            let output = output::run(&mut copy.open(user, group, &format!("device:{device}")));
            let code = if may { 0 } else { NOT_PERMITTED };
            assert_eq!(output.status.code(), Some(code), "{user}:{group} {device}\n{}", output::show(&output));
        }
    }
}

fn message() {
    apply(&[ours()], false);
    let output = output::run(&mut PublicCopy::new().open("nobody", "nogroup", "device:/dev/tpmrm0"));
    let text = "cannot open /dev/tpmrm0: Permission denied (mode 0660, owner tss:tss, we are nobody:nogroup). \
                Install the udev rules that give /dev/tpmrm0 to group tss, and join that group (usermod -a -G tss \
                USER, then log in again)";
    assert_eq!(output::stderr(&output).trim_end().split_once("() ").map(|(_, text)| text), Some(text));
}

fn stick() {
    apply(&[ours()], false);
    let mut simulator = Simulator::plug_in("0042");
    for _ in 0..2 {
        udevd::settle();
        let copy = PublicCopy::new();
        for (user, group, may) in
            [("root", "root", true), ("tss", "tss", true), ("nobody", "tss", true), ("nobody", "nogroup", false)]
        {
            let output = output::run(&mut copy.open(user, group, "spi-ltt2go:^0042$"));
            let code = if may { 0 } else { NOT_PERMITTED };
            assert_eq!(output.status.code(), Some(code), "{user}:{group}\n{}", output::show(&output));
        }
        // The same applies when it is plugged in again.
        simulator.unplug();
        simulator.plug();
    }
}

/// The user at the seat, with and without our rules for the seat.
fn seat(enabled: bool) {
    udevd::sit_down("nobody");
    let both = [ours(), for_the_seat()];
    apply(if enabled { &both } else { &both[..1] }, false);
    let stick = Simulator::plug_in("0042");
    udevd::settle();
    // The stick is accessible in both cases.
    assert!(output::run(&mut PublicCopy::new().open("nobody", "nogroup", "spi-ltt2go")).status.success());
    drop(stick);
    for (device, may) in [("/dev/tpm0", false), ("/dev/tpmrm0", enabled)] {
        let tags = output::succeed(Command::new("udevadm").args(["info", "--query=property", device]));
        assert_eq!(tags.contains(":uaccess:"), may, "{device}: {tags}");
        let output = output::run(&mut PublicCopy::new().open("nobody", "nogroup", &format!("device:{device}")));
        assert_eq!(output.status.code(), Some(if may { 0 } else { NOT_PERMITTED }), "{}", output::show(&output));
    }
}
