// SPDX-License-Identifier: BSD-2-Clause
//! What a person can do about a device that does not open. No advice names a device that just failed, nor another TPM
//! than the one that was asked for.
//!
//! Sentences have room for the path (`@`), the other device of the same TPM (`#%`), the number of the TPM (`%`) and that
//! of another one (`&`): they are in every library that opens a device, and to format each would take more room than the
//! sentence itself.

use super::machine::{Device, Machine, Tpm};
use super::{Cause, Failure};
use core::slice;
use nix::errno::Errno;

const NO_TPM: &str = "The kernel has found no TPM (/sys/class/tpm is empty): enable it in the firmware set-up, or use a \
                      simulator: TCTI swtpm or libtpms";

macro_rules! tpm12 {
    () => {
        "A TPM 1.2 does not understand TPM 2.0 commands: switch it to TPM 2.0 in the firmware set-up if possible, or use a \
         simulator: TCTI swtpm or libtpms"
    };
}

/// What comes between is the other way to the TPM.
macro_rules! pass_it {
    ($other:literal) => {
        concat!(
            "The kernel has TPM %, but this device is missing from /dev. ",
            $other,
            "In a container, pass it: --device @ (docker, podman), or a device of type unix-char (LXD). Otherwise have \
             udev create it (udevadm trigger)"
        )
    };
}

/// For the failure that is nearest to success, the first of them.
pub(super) fn on(failures: &[Failure], machine: &Machine) -> String {
    let Some(nearest) = failures.iter().min_by_key(|failure| distance(failure.cause)) else {
        return "Without a TPM, use a simulator: TCTI swtpm or libtpms".to_owned();
    };
    let asked = Asked::of(nearest, failures, machine);
    let mut advice = Vec::new();
    for byte in asked.sentence(nearest.cause).as_bytes() {
        advice.extend_from_slice(match byte {
            b'@' => asked.path.as_bytes(),
            b'#' => asked.other.as_bytes(),
            b'%' => asked.number.as_bytes(),
            b'&' => asked.another().as_bytes(),
            other => slice::from_ref(other),
        });
    }
    String::from_utf8(advice).unwrap_or_default()
}

fn distance(cause: Cause) -> u8 {
    match cause {
        Cause::System(Errno::EBUSY) => 0,
        Cause::System(Errno::EACCES | Errno::EPERM) => 1,
        Cause::Tpm12 => 2,
        Cause::Kind(_) | Cause::System(Errno::EISDIR) => 4,
        Cause::System(Errno::ENXIO | Errno::ENODEV) => 5,
        Cause::System(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG) => 6,
        Cause::System(_) => 3,
    }
}

/// What the name of a device stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    /// The resource manager of a TPM.
    Manager,
    /// A TPM itself.
    Bare,
    Other,
}

/// The device that the advice is about.
struct Asked<'a> {
    path: &'a str,
    name: Name,
    /// Of its TPM, from the name.
    number: &'a str,
    tpm: Option<&'a Tpm>,
    /// What the number follows in the name of the other device of the same TPM, where that is there and did not fail; else
    /// empty.
    other: &'static str,
    /// Whether it was named by a person, or is one of those that are tried.
    is_choice: bool,
    machine: &'a Machine,
}

impl<'a> Asked<'a> {
    fn of(failure: &'a Failure, failures: &[Failure], machine: &'a Machine) -> Asked<'a> {
        let path = failure.path.to_str().unwrap_or("PATH");
        let (name, number) = match (path.strip_prefix("/dev/tpmrm"), path.strip_prefix("/dev/tpm")) {
            (Some(number), _) if is_number(number) => (Name::Manager, number),
            (None, Some(number)) if is_number(number) => (Name::Bare, number),
            _ => (Name::Other, ""),
        };
        let tpm = machine.tpm(number);
        let (mut other, is_there) = match (name, tpm) {
            (Name::Manager, Some(tpm)) => ("/dev/tpm", tpm.bare.is_in_dev),
            (Name::Bare, Some(tpm)) => ("/dev/tpmrm", tpm.manager.is_in_dev),
            _ => ("", false),
        };
        let is_other =
            |failure: &Failure| failure.path.to_str().and_then(|path| path.strip_prefix(other)) == Some(number);
        if !is_there || failures.iter().any(is_other) {
            other = "";
        }
        Asked { path, name, number, tpm, other, is_choice: failures.len() == 1, machine }
    }

    fn device(&self) -> Option<Device> {
        self.tpm.map(|tpm| if self.name == Name::Manager { tpm.manager } else { tpm.bare })
    }

    fn sentence(&self, cause: Cause) -> &'static str {
        match cause {
            Cause::Tpm12 => tpm12!(),
            Cause::Kind(_) | Cause::System(Errno::EISDIR) => "A TPM is a character device such as /dev/tpmrm0",
            Cause::System(Errno::EBUSY) if self.other.is_empty() => {
                "End the program that holds the device (fuser @ tells which)"
            }
            Cause::System(Errno::EBUSY) => "Use #%, which programs can share, or end the program that holds the device",
            // The kernel has this error for the device cgroup, and no other module of its security.
            Cause::System(Errno::EPERM) => {
                "The device cgroup denies it, even to root: start the container with --device @ (docker, podman), or set \
                 DeviceAllow=@ rw for the service (systemd)"
            }
            Cause::System(Errno::EACCES) => self.is_denied(),
            // Nor can anybody look at /sys now.
            Cause::System(Errno::EMFILE | Errno::ENFILE) => {
                "Close files, or raise the limit of those that are open (ulimit -n)"
            }
            Cause::System(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG) => self.is_missing(),
            Cause::System(Errno::ENXIO | Errno::ENODEV) => self.has_no_driver(),
            Cause::System(Errno::ENOMEM) => {
                "The kernel has no memory for another connection: end programs that have the TPM open, or raise the memory \
                 limit of this container"
            }
            Cause::System(_) => {
                "The driver cannot reach the TPM; see its messages (dmesg | grep -i tpm). If a reboot does not help, power \
                 the machine off and on"
            }
        }
    }

    fn is_denied(&self) -> &'static str {
        match self.name {
            _ if self.machine.is_root => {
                "Even root is denied access. In a container, pass the device with --device @ (docker, podman) instead of \
                 mounting its node; in a rootless one, whose user has a group that may open the device, add --group-add \
                 keep-groups (podman)"
            }
            Name::Manager => {
                "Install the udev rules that give @ to group tss, and join that group (usermod -a -G tss USER, then log in \
                 again)"
            }
            Name::Bare if self.other.is_empty() => "Run as user tss, which the udev rules make the owner of @",
            Name::Bare => {
                "Use #%, which the udev rules give to group tss (usermod -a -G tss USER, then log in again); @ is reserved \
                 for user tss"
            }
            Name::Other => {
                "Join the group that may open it (usermod -a -G GROUP USER, then log in again), or run as its owner"
            }
        }
    }

    fn is_missing(&self) -> &'static str {
        let Some(tpm) = self.tpm else { return self.has_no_tpm() };
        let is_registered = self.device().is_some_and(|device| device.is_registered);
        match (self.name, self.other.is_empty()) {
            _ if tpm.is_tpm12 => concat!("TPM % of this machine is a TPM 1.2. ", tpm12!()),
            (_, true) if is_registered => pass_it!(""),
            (Name::Bare, false) if is_registered => pass_it!("Use #%, which leads to the same TPM. "),
            (_, false) if is_registered => {
                pass_it!("There is #%, which leads to the same TPM, for one program at a time. ")
            }
            (_, true) => "This kernel has TPM %, but no resource manager",
            (_, false) => "This kernel has TPM %, but no resource manager: use #%, which is for one program at a time",
        }
    }

    /// The number of another TPM, where nobody chose the one that is missing; else empty.
    fn another(&self) -> &str {
        let is_way = |tpm: &&Tpm| !self.is_choice && !tpm.is_tpm12 && tpm.manager.is_in_dev;
        self.machine.tpms.iter().find(is_way).map_or("", |tpm| &tpm.number)
    }

    /// The kernel does not have the TPM.
    fn has_no_tpm(&self) -> &'static str {
        match self.name {
            _ if self.machine.tpms.is_empty() => NO_TPM,
            Name::Other => "The kernel has a TPM (ls /sys/class/tpm), but no device of this name: check the path",
            _ if !self.another().is_empty() => {
                "The kernel has no TPM %. Name the device of another: device:/dev/tpmrm&"
            }
            _ => "The kernel has no TPM % (ls /sys/class/tpm)",
        }
    }

    fn has_no_driver(&self) -> &'static str {
        match self.device() {
            Some(device) if device.is_registered => {
                "The driver does not serve this node: see its messages (dmesg | grep -i tpm). If the device number of the \
                 node is not that in /sys/class/tpm*/*/dev, it is left from before a reboot: pass the device to the \
                 container again (--device @), or have udev create it (udevadm trigger)"
            }
            _ if self.machine.tpms.is_empty() => NO_TPM,
            _ => "No driver serves this node: the TPM was removed, or its driver is not loaded (dmesg | grep -i tpm)",
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests;
