// SPDX-License-Identifier: BSD-2-Clause
//! Facts in, sentences out.

use super::*;
use std::path::Path;

/// A TPM 2.0, and which of its devices are in /dev.
fn tpm(number: u8, bare: bool, manager: bool) -> Tpm {
    let device = |is_in_dev| Device { is_registered: true, is_in_dev };
    Tpm { number: number.to_string(), is_tpm12: false, bare: device(bare), manager: device(manager) }
}

fn machine(tpms: impl IntoIterator<Item = Tpm>) -> Machine {
    Machine { tpms: tpms.into_iter().collect(), is_root: false }
}

fn failure(path: &str, error: Errno) -> Failure {
    Failure::system(Path::new(path), error)
}

/// What is said to somebody who asked for one device.
fn advice(path: &str, error: Errno, machine: &Machine) -> String {
    on(&[failure(path, error)], machine)
}

/// What is said to somebody who asked for none.
fn advice_on_defaults(errors: [Errno; 2], machine: &Machine) -> String {
    let [manager, bare] = errors;
    on(&[failure("/dev/tpmrm0", manager), failure("/dev/tpm0", bare), failure("/dev/tcm0", Errno::ENOENT)], machine)
}

#[test]
fn a_busy_tpm_can_be_shared_where_the_resource_manager_is_there() {
    let both = machine([tpm(0, true, true)]);
    assert_eq!(
        advice("/dev/tpm0", Errno::EBUSY, &both),
        "Use /dev/tpmrm0, which programs can share, or end the program that holds the device"
    );
    let end_it = "End the program that holds the device (fuser /dev/tpm0 tells which)";
    assert_eq!(advice("/dev/tpm0", Errno::EBUSY, &machine([tpm(0, true, false)])), end_it);
    assert_eq!(advice_on_defaults([Errno::EIO, Errno::EBUSY], &both), end_it);
}

#[test]
fn the_device_cgroup_is_named_with_the_option_that_opens_it() {
    let text = "The device cgroup denies it, even to root: start the container with --device /dev/tpmrm0 (docker, podman), \
                or set DeviceAllow=/dev/tpmrm0 rw for the service (systemd)";
    for is_root in [false, true] {
        let machine = Machine { is_root, ..machine([tpm(0, true, true)]) };
        assert_eq!(advice("/dev/tpmrm0", Errno::EPERM, &machine), text);
    }
}

#[test]
fn a_user_without_rights_is_led_to_the_group() {
    let both = machine([tpm(0, true, true)]);
    assert_eq!(
        advice("/dev/tpmrm0", Errno::EACCES, &both),
        "Install the udev rules that give /dev/tpmrm0 to group tss, and join that group (usermod -a -G tss USER, then \
         log in again)"
    );
    assert_eq!(
        advice("/dev/tpm0", Errno::EACCES, &both),
        "Use /dev/tpmrm0, which the udev rules give to group tss (usermod -a -G tss USER, then log in again); /dev/tpm0 \
         is reserved for user tss"
    );
    assert!(advice_on_defaults([Errno::EACCES; 2], &both).contains("give /dev/tpmrm0 to group tss"));
    assert!(advice_on_defaults([Errno::ENOENT, Errno::EACCES], &both).starts_with("Run as user tss"));
    assert!(advice("/dev/my-tpm", Errno::EACCES, &both).contains("usermod -a -G GROUP USER"));
}

#[test]
fn root_that_is_denied_is_in_a_container() {
    let machine = Machine { is_root: true, ..machine([tpm(0, true, true)]) };
    let text = advice("/dev/tpmrm0", Errno::EACCES, &machine);
    assert!(text.contains("--device /dev/tpmrm0") && text.contains("keep-groups") && !text.contains("udev"), "{text}");
}

#[test]
fn a_node_that_is_missing_is_passed_to_the_container() {
    let none = machine([tpm(0, false, false)]);
    let text = "The kernel has TPM 0, but this device is missing from /dev. In a container, pass it: --device /dev/tpmrm0 \
                (docker, podman), or a device of type unix-char (LXD). Otherwise have udev create it (udevadm trigger)";
    assert_eq!(advice("/dev/tpmrm0", Errno::ENOENT, &none), text);
    assert_eq!(advice_on_defaults([Errno::ENOENT; 2], &none), text);
    assert_eq!(advice("/dev/tpm0", Errno::ENOENT, &none), text.replace("tpmrm0", "tpm0"));
}

#[test]
fn the_other_device_of_the_same_tpm_is_offered() {
    let bare = machine([tpm(0, true, false)]);
    let text = advice("/dev/tpmrm0", Errno::ENOENT, &bare);
    assert!(
        text.contains("/dev. There is /dev/tpm0, which leads to the same TPM, for one program at a time. In"),
        "{text}"
    );
    let manager = machine([tpm(0, false, true)]);
    let text = advice("/dev/tpm0", Errno::ENOENT, &manager);
    assert!(text.contains("/dev. Use /dev/tpmrm0, which leads to the same TPM. In a container"), "{text}");
    let old = Tpm { manager: Device::default(), ..tpm(0, true, false) };
    assert_eq!(
        advice("/dev/tpmrm0", Errno::ENOENT, &machine([old])),
        "This kernel has TPM 0, but no resource manager: use /dev/tpm0, which is for one program at a time"
    );
}

#[test]
fn nothing_is_said_of_another_tpm_than_the_one_asked_for() {
    let first = machine([tpm(0, true, true)]);
    let devices = ["/dev/tpmrm1", "/dev/tpm1"];
    let errors = [Errno::ENOENT, Errno::ENXIO, Errno::EBUSY, Errno::EACCES, Errno::EPERM, Errno::EIO, Errno::ENODEV];
    for (device, error) in devices.iter().flat_map(|device| errors.map(|error| (device, error))) {
        let text = advice(device, error, &first);
        assert!(!text.contains("tpm0") && !text.contains("tpmrm0"), "{device}, {error}: {text}");
    }
    assert_eq!(advice(devices[0], Errno::ENOENT, &first), "The kernel has no TPM 1 (ls /sys/class/tpm)");
}

#[test]
fn a_device_that_failed_is_never_the_way_out() {
    let both = machine([tpm(0, true, true)]);
    let errors =
        [Errno::ENOENT, Errno::EBUSY, Errno::EACCES, Errno::EIO, Errno::ENXIO, Errno::ENODEV, Errno::ETIMEDOUT];
    for (manager, bare) in errors.iter().flat_map(|first| errors.map(|second| (*first, second))) {
        let text = advice_on_defaults([manager, bare], &both);
        assert!(
            !text.contains("Use /dev") && !text.contains(": use /dev") && !text.contains("There is /dev"),
            "{manager}, {bare}: {text}"
        );
    }
}

#[test]
fn who_asked_for_no_device_hears_of_the_tpm_that_has_another_number() {
    let second = machine([tpm(1, true, true)]);
    assert_eq!(
        advice_on_defaults([Errno::ENOENT; 2], &second),
        "The kernel has no TPM 0. Name the device of another: device:/dev/tpmrm1"
    );
}

#[test]
fn a_tpm_1_2_is_called_one() {
    let text = on(&[Failure { path: "/dev/tpm0".into(), cause: Cause::Tpm12 }], &Machine::default());
    assert!(text.starts_with("A TPM 1.2 does not understand TPM 2.0 commands"), "{text}");
    let old = Tpm { is_tpm12: true, manager: Device::default(), ..tpm(0, true, false) };
    let text = advice("/dev/tpmrm0", Errno::ENOENT, &machine([old]));
    assert!(text.starts_with("TPM 0 of this machine is a TPM 1.2. "), "{text}");
}

#[test]
fn a_machine_without_a_tpm_has_simulators() {
    for path in ["/dev/tpmrm0", "/dev/tpm0", "/dev/tpmrm7", "/dev/my-tpm"] {
        for error in [Errno::ENOENT, Errno::ENXIO, Errno::ENODEV] {
            assert_eq!(advice(path, error, &Machine::default()), NO_TPM);
        }
    }
    assert!(on(&[], &Machine::default()).contains("swtpm"));
}

#[test]
fn a_node_without_a_driver() {
    let first = machine([tpm(0, true, true)]);
    let text = advice("/dev/tpmrm0", Errno::ENXIO, &first);
    assert!(
        text.contains("dmesg") && text.contains("before a reboot") && text.contains("--device /dev/tpmrm0"),
        "{text}"
    );
    assert!(advice("/dev/tpmrm1", Errno::ENODEV, &first).starts_with("No driver serves this node"));
}

#[test]
fn a_driver_that_does_not_reach_its_tpm_has_messages() {
    for error in [Errno::EIO, Errno::ETIMEDOUT, Errno::ETIME] {
        let text = advice("/dev/tpmrm0", error, &machine([tpm(0, true, true)]));
        assert!(text.starts_with("The driver cannot reach the TPM") && text.contains("dmesg"), "{text}");
    }
    let text = advice("/dev/tpmrm0", Errno::ENOMEM, &machine([tpm(0, true, true)]));
    assert!(text.starts_with("The kernel has no memory for another connection"), "{text}");
}

#[test]
fn who_has_no_descriptors_is_not_told_that_there_is_no_tpm() {
    assert!(advice_on_defaults([Errno::EMFILE; 2], &Machine::default()).contains("ulimit -n"));
}

#[test]
fn a_path_with_another_name_may_be_wrong() {
    let text = advice("/dev/tpm-rm0", Errno::ENOENT, &machine([tpm(0, true, true)]));
    assert!(text.ends_with("check the path"), "{text}");
    assert!(advice("/dev", Errno::EISDIR, &machine([tpm(0, true, true)])).contains("a character device"));
}
