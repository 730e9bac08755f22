// SPDX-License-Identifier: BSD-2-Clause
//! Tests the advice for each cause and state of the system.

use super::*;
use std::path::Path;

/// Returns a TPM 2.0 with the given devices in /dev.
fn tpm(number: u8, bare: bool, manager: bool) -> KernelTpm {
    let device = |is_in_dev| Device { is_registered: true, is_in_dev };
    KernelTpm { number: number.to_string(), is_tpm12: false, bare: device(bare), manager: device(manager) }
}

fn machine(tpms: impl IntoIterator<Item = KernelTpm>) -> Machine {
    Machine { tpms: tpms.into_iter().collect(), is_root: false }
}

fn failure(path: &str, error: Errno) -> UnusableDevice {
    UnusableDevice::system(Path::new(path), error)
}

/// Returns the advice for a user who has chosen a device.
fn advice(path: &str, error: Errno, machine: &Machine) -> String {
    on(&[failure(path, error)], machine)
}

/// Returns the advice for a user who has chosen no device.
fn advice_on_defaults(errors: [Errno; 2], machine: &Machine) -> String {
    let [manager, bare] = errors;
    on(&[failure("/dev/tpmrm0", manager), failure("/dev/tpm0", bare), failure("/dev/tcm0", Errno::ENOENT)], machine)
}

#[test]
fn a_busy_tpm_can_be_shared_by_its_resource_manager() {
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
fn the_option_that_opens_the_device_cgroup_is_named() {
    let text = "The device cgroup denies it, even to root: start the container with --device /dev/tpmrm0 (docker, podman), \
                or set DeviceAllow=/dev/tpmrm0 rw for the service (systemd)";
    for is_root in [false, true] {
        let machine = Machine { is_root, ..machine([tpm(0, true, true)]) };
        assert_eq!(advice("/dev/tpmrm0", Errno::EPERM, &machine), text);
    }
}

#[test]
fn a_user_without_access_is_told_which_group_to_join() {
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
fn root_without_access_is_assumed_to_be_in_a_container() {
    let machine = Machine { is_root: true, ..machine([tpm(0, true, true)]) };
    let text = advice("/dev/tpmrm0", Errno::EACCES, &machine);
    assert!(text.contains("--device /dev/tpmrm0") && text.contains("keep-groups") && !text.contains("udev"), "{text}");
}

#[test]
fn a_missing_node_can_be_passed_to_the_container() {
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
    let old = KernelTpm { manager: Device::default(), ..tpm(0, true, false) };
    assert_eq!(
        advice("/dev/tpmrm0", Errno::ENOENT, &machine([old])),
        "This kernel has TPM 0, but no resource manager: use /dev/tpm0, which is for one program at a time"
    );
}

#[test]
fn a_tpm_other_than_the_requested_one_is_not_mentioned() {
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
fn a_device_that_has_failed_is_never_recommended() {
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
fn without_a_chosen_device_a_tpm_with_another_number_is_recommended() {
    let second = machine([tpm(1, true, true)]);
    assert_eq!(
        advice_on_defaults([Errno::ENOENT; 2], &second),
        "The kernel has no TPM 0. Name the device of another: device:/dev/tpmrm1"
    );
}

#[test]
fn a_tpm_1_2_is_reported() {
    let text = on(&[UnusableDevice { path: "/dev/tpm0".into(), cause: Cause::Tpm12 }], &Machine::default());
    assert!(text.starts_with("A TPM 1.2 does not understand TPM 2.0 commands"), "{text}");
    let old = KernelTpm { is_tpm12: true, manager: Device::default(), ..tpm(0, true, false) };
    let text = advice("/dev/tpmrm0", Errno::ENOENT, &machine([old]));
    assert!(text.starts_with("TPM 0 of this machine is a TPM 1.2. "), "{text}");
}

#[test]
fn a_simulator_is_recommended_without_a_tpm() {
    for path in ["/dev/tpmrm0", "/dev/tpm0", "/dev/tpmrm7", "/dev/my-tpm"] {
        for error in [Errno::ENOENT, Errno::ENXIO, Errno::ENODEV] {
            assert_eq!(advice(path, error, &Machine::default()), NO_TPM);
        }
    }
    assert!(on(&[], &Machine::default()).contains("swtpm"));
}

#[test]
fn a_node_without_a_driver_is_explained() {
    let first = machine([tpm(0, true, true)]);
    let text = advice("/dev/tpmrm0", Errno::ENXIO, &first);
    assert!(
        text.contains("dmesg") && text.contains("before a reboot") && text.contains("--device /dev/tpmrm0"),
        "{text}"
    );
    assert!(advice("/dev/tpmrm1", Errno::ENODEV, &first).starts_with("No driver serves this node"));
}

#[test]
fn errors_of_the_driver_refer_to_its_messages() {
    for error in [Errno::EIO, Errno::ETIMEDOUT, Errno::ETIME] {
        let text = advice("/dev/tpmrm0", error, &machine([tpm(0, true, true)]));
        assert!(text.starts_with("The driver cannot reach the TPM") && text.contains("dmesg"), "{text}");
    }
    let text = advice("/dev/tpmrm0", Errno::ENOMEM, &machine([tpm(0, true, true)]));
    assert!(text.starts_with("The kernel has no memory for another connection"), "{text}");
}

#[test]
fn a_lack_of_file_descriptors_is_not_reported_as_a_missing_tpm() {
    assert!(advice_on_defaults([Errno::EMFILE; 2], &Machine::default()).contains("ulimit -n"));
}

#[test]
fn an_unusual_path_may_be_wrong() {
    let text = advice("/dev/tpm-rm0", Errno::ENOENT, &machine([tpm(0, true, true)]));
    assert!(text.ends_with("check the path"), "{text}");
    assert!(advice("/dev", Errno::EISDIR, &machine([tpm(0, true, true)])).contains("a character device"));
}
