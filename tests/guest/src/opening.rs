// SPDX-License-Identifier: BSD-2-Clause
//! The messages for a device that does not open on a machine with a TPM: in containers, and for a TPM 1.2.

use crate::device::{IO_ERROR, NOT_PERMITTED, says};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tss2_kit::need::{Need, SETPRIV, SWTPM};
use tss2_kit::suite::Suite;
use tss2_kit::waiting::wait_until;
use tss2_kit::{output, program, stage};

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("opening::a_device_denied_by_the_device_cgroup", &[Need::Root], forbidden);
    suite.test("opening::a_container_without_the_devices", &[Need::Mount], without_devices);
    suite.test("opening::a_container_with_one_of_the_devices", &[Need::Mount], with_one_device);
    suite.test("opening::a_stale_device_node", &[Need::Mount], stale_node);
    suite.test("opening::a_tpm_with_another_number", &[], another);
    suite.test("opening::a_tpm_1_2", &[SWTPM, SETPRIV], tpm12);
}

/// Returns a program that opens `name_conf`, or the default, after a shell script has changed the system in a mount
/// namespace.
fn opens(shell: &str, name_conf: Option<&str>) -> Command {
    let mut command = stage::command("unshare");
    command.args(["--mount", "sh", "-ec", &format!("{shell}\nexec \"$@\""), "sh"]);
    command.arg(program::link_tctildr()).args(name_conf);
    command
}

/// The same as in a container without --device: /sys is the host's, and /dev has nothing but the basics and what
/// `nodes`, a line for the shell, creates.
fn container(nodes: &str, name_conf: Option<&str>) -> Command {
    let shell = format!(
        "mount -t tmpfs dev /dev; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9
         {nodes}"
    );
    opens(&shell, name_conf)
}

/// Returns the number of a device in the form of mknod(1).
fn number(device: &str) -> String {
    let class = device.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = fs::read_to_string(format!("/sys/class/{class}/{device}/dev")).unwrap();
    number.trim().replace(':', " ")
}

fn forbidden() {
    let groups = Path::new("/run/cgroup-devices");
    fs::create_dir_all(groups).unwrap();
    output::succeed(Command::new("mount").args(["-t", "cgroup", "-o", "devices", "devices"]).arg(groups));
    let shell = format!(
        "mkdir -p {0}/none; echo 'c *:* rwm' >{0}/none/devices.deny; echo 'c 1:* rwm' >{0}/none/devices.allow
         echo $$ >{0}/none/cgroup.procs",
        groups.display()
    );
    let text = "cannot open /dev/tpmrm0: Operation not permitted (mode 0600, owner root:root, we are root:root). The \
                device cgroup denies it, even to root: start the container with --device /dev/tpmrm0 (docker, podman), \
                or set DeviceAllow=/dev/tpmrm0 rw for the service (systemd)";
    says(&mut opens(&shell, Some("device:/dev/tpmrm0")), NOT_PERMITTED, text);
    output::succeed(&mut opens("", Some("device:/dev/tpmrm0")));
}

const PASS_IT: &str = "In a container, pass it: --device /dev/tpmrm0 (docker, podman), or a device of type unix-char \
                       (LXD). Otherwise have udev create it (udevadm trigger)";

fn without_devices() {
    let text = format!(
        "cannot open /dev/tpmrm0: No such file or directory. The kernel has TPM 0, but this device is missing from /dev. {PASS_IT}"
    );
    says(&mut container("", Some("device:/dev/tpmrm0")), IO_ERROR, &text);
    says(&mut container("", Some("device:/dev/tpm0")), IO_ERROR, &text.replace("tpmrm0", "tpm0"));
    let missing = ["tpmrm0", "tpm0", "tcmrm0", "tcm0"].map(|name| format!("/dev/{name}: No such file or directory"));
    let text = format!(
        "no TPM device opens: {}. The kernel has TPM 0, but this device is missing from /dev. {PASS_IT}",
        missing.join("; ")
    );
    says(&mut container("", Some("device")), IO_ERROR, &text);
    let output = output::run(&mut container("", None));
    let said = output::stderr(&output);
    assert!(said.trim_end().ends_with(PASS_IT) && said.lines().count() == 1, "{said}");
}

fn with_one_device() {
    let bare = format!("mknod /dev/tpm0 c {}", number("tpm0"));
    let text = "cannot open /dev/tpmrm0: No such file or directory. The kernel has TPM 0, but this device is missing from \
                /dev. There is /dev/tpm0, which leads to the same TPM, for one program at a time. ";
    says(&mut container(&bare, Some("device:/dev/tpmrm0")), IO_ERROR, &format!("{text}{PASS_IT}"));
    output::succeed(&mut container(&bare, Some("device")));

    let manager = format!("mknod /dev/tpmrm0 c {}", number("tpmrm0"));
    let text = "cannot open /dev/tpm0: No such file or directory. The kernel has TPM 0, but this device is missing from /dev. \
                Use /dev/tpmrm0, which leads to the same TPM. In a container, pass it: --device /dev/tpm0 (docker, podman), \
                or a device of type unix-char (LXD). Otherwise have udev create it (udevadm trigger)";
    says(&mut container(&manager, Some("device:/dev/tpm0")), IO_ERROR, text);
}

fn stale_node() {
    let text = "cannot open /dev/tpmrm0: No such device or address. The driver does not serve this node: see its messages \
                (dmesg | grep -i tpm). If the device number of the node is not that in /sys/class/tpm*/*/dev, it is left \
                from before a reboot: pass the device to the container again (--device /dev/tpmrm0), or have udev create \
                it (udevadm trigger)";
    says(&mut container("mknod /dev/tpmrm0 c 250 65535", Some("device:/dev/tpmrm0")), IO_ERROR, text);
}

fn another() {
    let text = "cannot open /dev/tpmrm1: No such file or directory. The kernel has no TPM 1 (ls /sys/class/tpm)";
    says(&mut opens("", Some("device:/dev/tpmrm1")), IO_ERROR, text);
}

/// A swtpm that is a TPM 1.2 behind the kernel's driver, until the value is dropped.
struct Tpm12(Child);

impl Drop for Tpm12 {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended already
        let _ = self.0.wait();
    }
}

fn tpm12() {
    output::succeed(Command::new("modprobe").arg("tpm_vtpm_proxy"));
    let dir = tempfile::tempdir().unwrap();
    let mut swtpm = Command::new("setpriv");
    swtpm.args(["--pdeathsig", "KILL", "swtpm", "chardev", "--vtpm-proxy", "--flags", "not-need-init,startup-clear"]);
    swtpm.arg("--tpmstate").arg(format!("dir={}", dir.path().display())).stdout(Stdio::null()).stderr(Stdio::null());
    let _tpm = Tpm12(swtpm.spawn().unwrap());
    let version = || fs::read_to_string("/sys/class/tpm/tpm1/tpm_version_major").unwrap_or_default();
    wait_until("a driver that is loaded", || version().trim() == "1" && Path::new("/dev/tpm1").exists());
    let advice = "A TPM 1.2 does not understand TPM 2.0 commands: switch it to TPM 2.0 in the firmware set-up if possible, or \
                  use a simulator: TCTI swtpm or libtpms";
    let text = format!("cannot open /dev/tpm1: the TPM behind it is a TPM 1.2. {advice}");
    says(&mut opens("", Some("device:/dev/tpm1")), IO_ERROR, &text);
    // Under another name, as in a container, and as the only device.
    let renamed = format!("mknod /dev/tpm0 c {}", number("tpm1"));
    let text = format!("cannot open /dev/tpm0: the TPM behind it is a TPM 1.2. {advice}");
    says(&mut container(&renamed, Some("device:/dev/tpm0")), IO_ERROR, &text);
    let output = output::run(&mut container(&renamed, None));
    let said = output::stderr(&output);
    assert!(said.contains("/dev/tpm0: the TPM behind it is a TPM 1.2") && said.lines().count() == 1, "{said}");
    let text =
        format!("cannot open /dev/tpmrm1: No such file or directory. TPM 1 of this machine is a TPM 1.2. {advice}");
    says(&mut opens("", Some("device:/dev/tpmrm1")), IO_ERROR, &text);
}
