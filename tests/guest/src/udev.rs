// SPDX-License-Identifier: BSD-2-Clause
//! The udev rules and the sysusers file of `dist`, as they are staged, with a real udevd: who may open what.

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

/// Code of the TCTI layer as `link-tctildr` exits.
const NOT_PERMITTED: i32 = 0xc;

/// In this order: what udev has once given, it does not take back.
pub(crate) fn tests(suite: &mut Suite) {
    suite.test("udev::sysusers_make_the_user_and_the_group", &UDEV, sysusers);
    suite.test("udev::the_rules_give_each_device_to_whom_it_is_for", &UDEV, || owners(false));
    let both = [&UDEV[..], &[Need::File("/lib/udev/rules.d/60-tpm-udev.rules", "tpm-udev")]].concat();
    suite.test("udev::the_rules_hold_beside_those_of_the_distribution", &both, || owners(true));
    suite.test("udev::the_message_to_a_user_outside_the_group", &UDEV, message);
    suite.test("udev::a_stick_is_for_the_group", &[&UDEV[..], &[SWTPM]].concat(), stick);
    suite.test("udev::the_seat_has_no_access_unless_wanted", &UDEV, || seat(false));
    suite.test("udev::the_seat_has_access_when_wanted", &UDEV, || seat(true));
    suite.test("udev::the_rules_are_read_without_complaint", &UDEV, complaints);
}

/// A system with udevd, and with our user and group.
static SYSTEM: LazyLock<()> = LazyLock::new(|| {
    udevd::start();
    output::succeed(Command::new("systemd-sysusers").arg(staged("lib/sysusers.d/tss2-tcti.conf")));
});

fn staged(path: &str) -> PathBuf {
    stage::root().join(path)
}

/// Has udevd apply these rules, and none of the distribution's for TPMs.
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

fn complaints() {
    let all = [ours(), for_the_seat()];
    apply(&all, false);
    let test = output::run(Command::new("udevadm").args(["test", "--action=add", "/sys/class/tpmrm/tpmrm0"]));
    let said = output::stderr(&test);
    for path in all.map(|rules| Path::new(RULES).join(rules.file_name().unwrap())) {
        let path = path.to_str().unwrap();
        assert!(said.contains(&format!("Reading rules file: {path}")), "{said}");
        assert!(!said.lines().any(|line| line.starts_with(path)), "{said}"); // a complaint begins with FILE:LINE
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
        // Each time that it is plugged in.
        assert!(simulator.ask("unplug") == "ok" && simulator.ask("plug").starts_with("ready "));
    }
}

/// Whoever sits at the machine.
fn seat(wanted: bool) {
    udevd::sit_down("nobody");
    let both = [ours(), for_the_seat()];
    apply(if wanted { &both } else { &both[..1] }, false);
    let stick = Simulator::plug_in("0042");
    udevd::settle();
    // The stick is theirs in any case.
    assert!(output::run(&mut PublicCopy::new().open("nobody", "nogroup", "spi-ltt2go")).status.success());
    drop(stick);
    for (device, may) in [("/dev/tpm0", false), ("/dev/tpmrm0", wanted)] {
        let tags = output::succeed(Command::new("udevadm").args(["info", "--query=property", device]));
        assert_eq!(tags.contains(":uaccess:"), may, "{device}: {tags}");
        let output = output::run(&mut PublicCopy::new().open("nobody", "nogroup", &format!("device:{device}")));
        assert_eq!(output.status.code(), Some(if may { 0 } else { NOT_PERMITTED }), "{}", output::show(&output));
    }
}
