// SPDX-License-Identifier: BSD-2-Clause
//! Advice to the user about a device that does not open: [`on`]. Advice never recommends a device that has just failed, nor a
//! TPM other than the requested one.
//!
//! The sentences contain placeholders for the path (`@`), the other device of the same TPM (`#%`), the number of the TPM (`%`)
//! and the number of another TPM (`&`). Every library that opens a device contains them, and the code of a `format!` for each
//! would be larger than the sentence.

use super::machine::{Device, KernelTpm, Machine};
use super::{Cause, UnusableDevice};
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

/// The argument recommends the other device of the same TPM.
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

/// Returns advice about the failure that is easiest to resolve; the first one if several are.
pub(super) fn on(failures: &[UnusableDevice], machine: &Machine) -> String {
    let Some(easiest) = failures.iter().min_by_key(|failure| effort(failure.cause)) else {
        return "Without a TPM, use a simulator: TCTI swtpm or libtpms".to_owned();
    };
    let requested = Requested::of(easiest, failures, machine);
    let mut advice = Vec::new();
    for byte in requested.sentence(easiest.cause).as_bytes() {
        advice.extend_from_slice(match byte {
            b'@' => requested.path.as_bytes(),
            b'#' => requested.other.as_bytes(),
            b'%' => requested.number.as_bytes(),
            b'&' => requested.another().as_bytes(),
            other => slice::from_ref(other),
        });
    }
    String::from_utf8(advice).unwrap_or_default()
}

/// Ranks how hard it is to make a device usable.
fn effort(cause: Cause) -> u8 {
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

/// The meaning of a device name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    /// The resource manager of a TPM: /dev/tpmrmN.
    Manager,
    /// The TPM itself: /dev/tpmN.
    Bare,
    Other,
}

/// The device that the advice is about.
struct Requested<'a> {
    path: &'a str,
    name: Name,
    /// The number of its TPM, from the name.
    number: &'a str,
    tpm: Option<&'a KernelTpm>,
    /// The name, without the number, of the other device of the same TPM; empty if that does not exist or has failed, too.
    other: &'static str,
    /// Whether the user has chosen this device; otherwise it is one of the defaults.
    is_choice: bool,
    machine: &'a Machine,
}

impl<'a> Requested<'a> {
    fn of(failure: &'a UnusableDevice, failures: &[UnusableDevice], machine: &'a Machine) -> Requested<'a> {
        let path = failure.path.to_str().unwrap_or("PATH");
        let (name, number) = match (path.strip_prefix("/dev/tpmrm"), path.strip_prefix("/dev/tpm")) {
            (Some(number), _) if is_number(number) => (Name::Manager, number),
            (None, Some(number)) if is_number(number) => (Name::Bare, number),
            _ => (Name::Other, ""),
        };
        let tpm = machine.tpm(number);
        let (mut other, exists) = match (name, tpm) {
            (Name::Manager, Some(tpm)) => ("/dev/tpm", tpm.bare.is_in_dev),
            (Name::Bare, Some(tpm)) => ("/dev/tpmrm", tpm.manager.is_in_dev),
            _ => ("", false),
        };
        let is_other =
            |failure: &UnusableDevice| failure.path.to_str().and_then(|path| path.strip_prefix(other)) == Some(number);
        if !exists || failures.iter().any(is_other) {
            other = "";
        }
        Requested { path, name, number, tpm, other, is_choice: failures.len() == 1, machine }
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
            // In the kernel only the device cgroup denies access with this error.
            Cause::System(Errno::EPERM) => {
                "The device cgroup denies it, even to root: start the container with --device @ (docker, podman), or set \
                 DeviceAllow=@ rw for the service (systemd)"
            }
            Cause::System(Errno::EACCES) => self.is_denied(),
            // In this state /sys cannot be read either.
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

    /// Returns advice if access is denied.
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

    /// Returns advice if the device node does not exist.
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

    /// Returns the number of another TPM that can be used; empty if there is none, or if the user has chosen the missing one.
    fn another(&self) -> &str {
        let is_usable = |tpm: &&KernelTpm| !self.is_choice && !tpm.is_tpm12 && tpm.manager.is_in_dev;
        self.machine.tpms.iter().find(is_usable).map_or("", |tpm| &tpm.number)
    }

    /// Returns advice if the kernel does not have the TPM.
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

    /// Returns advice if the device node has no driver.
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
