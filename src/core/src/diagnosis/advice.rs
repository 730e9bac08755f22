// SPDX-License-Identifier: BSD-2-Clause
//! What a person can do about a device that does not open. No advice names a device that just failed, nor another TPM
//! than the one that was asked for.

use super::machine::{Device, Machine, Tpm};
use super::{Cause, Failure};
use nix::errno::Errno;
use std::path::Path;

const NO_TPM: &str = "The kernel has found no TPM (/sys/class/tpm is empty): enable it in the firmware set-up, or use a \
                      simulator: TCTI swtpm or libtpms";
const TPM12: &str = "A TPM 1.2 does not understand TPM 2.0 commands: switch it to TPM 2.0 in the firmware set-up if \
                     possible, or use a simulator: TCTI swtpm or libtpms";

/// For the failure that is nearest to success, the first of them.
pub(super) fn on(failures: &[Failure], machine: &Machine) -> String {
    let Some(nearest) = failures.iter().min_by_key(|failure| distance(failure.cause)) else {
        return "Without a TPM, use a simulator: TCTI swtpm or libtpms".to_owned();
    };
    let asked = Asked { failures, machine, path: &nearest.path, name: Name::of(&nearest.path) };
    match nearest.cause {
        Cause::Tpm12 => TPM12.to_owned(),
        Cause::Kind(_) | Cause::System(Errno::EISDIR) => "A TPM is a character device such as /dev/tpmrm0".to_owned(),
        Cause::System(Errno::EBUSY) => asked.is_busy(),
        Cause::System(Errno::EPERM) => asked.is_forbidden(),
        Cause::System(Errno::EACCES) => asked.is_denied(),
        // Nor can anybody look at /sys now.
        Cause::System(Errno::EMFILE | Errno::ENFILE) => {
            "Close files, or raise the limit of those that are open (ulimit -n)".to_owned()
        }
        Cause::System(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG) => asked.is_missing(),
        Cause::System(Errno::ENXIO | Errno::ENODEV) => asked.has_no_driver(),
        Cause::System(Errno::ENOMEM) => "The kernel has no memory for another connection: end programs that have the \
                                         TPM open, or raise the memory limit of this container"
            .to_owned(),
        Cause::System(_) => {
            "The driver cannot reach the TPM; see its messages (dmesg | grep -i tpm). If a reboot does \
             not help, power the machine off and on"
                .to_owned()
        }
    }
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
    /// The resource manager of the TPM with this number.
    Manager(u32),
    /// This TPM itself.
    Bare(u32),
    Other,
}

impl Name {
    fn of(path: &Path) -> Name {
        let name = path.strip_prefix("/dev").ok().and_then(Path::to_str).unwrap_or_default();
        let number = |prefix| name.strip_prefix(prefix).and_then(|number| number.parse().ok());
        number("tpmrm").map(Name::Manager).or_else(|| number("tpm").map(Name::Bare)).unwrap_or(Name::Other)
    }
}

/// The device that the advice is about.
struct Asked<'a> {
    failures: &'a [Failure],
    machine: &'a Machine,
    path: &'a Path,
    name: Name,
}

impl Asked<'_> {
    fn tpm(&self) -> Option<&Tpm> {
        match self.name {
            Name::Manager(number) | Name::Bare(number) => self.machine.tpm(number),
            Name::Other => None,
        }
    }

    fn device(&self) -> Option<&Device> {
        self.tpm().map(|tpm| if matches!(self.name, Name::Manager(_)) { &tpm.manager } else { &tpm.bare })
    }

    /// The other device of the same TPM, where it is there and did not fail.
    fn other_way(&self) -> Option<String> {
        let (path, is_there) = match self.name {
            Name::Manager(number) => (format!("/dev/tpm{number}"), self.tpm()?.bare.node.is_some()),
            Name::Bare(number) => (format!("/dev/tpmrm{number}"), self.tpm()?.manager.node.is_some()),
            Name::Other => return None,
        };
        let has_failed = self.failures.iter().any(|failure| failure.path == Path::new(&path));
        (is_there && !has_failed).then_some(path)
    }

    fn is_busy(&self) -> String {
        match self.other_way() {
            Some(other) => format!("Use {other}, which programs can share, or end the program that holds the device"),
            None => format!("End the program that holds the device (fuser {} tells which)", self.path.display()),
        }
    }

    /// The kernel has this error for the device cgroup, and no other module of its security.
    fn is_forbidden(&self) -> String {
        format!(
            "The device cgroup denies it, even to root: start the container with --device {0} (docker, podman), or set \
             DeviceAllow={0} rw for the service (systemd)",
            self.path.display()
        )
    }

    fn is_denied(&self) -> String {
        let path = self.path.display();
        match (self.name, self.other_way()) {
            _ if self.machine.is_root => format!(
                "Even root is denied access. In a container, pass the device with --device {path} (docker, podman) instead \
                 of mounting its node; in a rootless one, whose user has a group that may open the device, add \
                 --group-add keep-groups (podman)"
            ),
            (Name::Manager(_), _) => format!(
                "Install the udev rules that give {path} to group tss, and join that group (usermod -a -G tss USER, then \
                 log in again)"
            ),
            (Name::Bare(_), Some(other)) => format!(
                "Use {other}, which the udev rules give to group tss (usermod -a -G tss USER, then log in again); {path} \
                 is reserved for user tss"
            ),
            (Name::Bare(_), None) => format!("Run as user tss, which the udev rules make the owner of {path}"),
            (Name::Other, _) => {
                "Join the group that may open it (usermod -a -G GROUP USER, then log in again), or run \
                                 as its owner"
                    .to_owned()
            }
        }
    }

    fn is_missing(&self) -> String {
        let (Name::Manager(number) | Name::Bare(number)) = self.name else {
            return match self.machine.tpms.is_empty() {
                true => NO_TPM.to_owned(),
                false => {
                    "The kernel has a TPM (ls /sys/class/tpm), but no device of this name: check the path".to_owned()
                }
            };
        };
        match (self.tpm(), self.device()) {
            (Some(tpm), _) if tpm.is_tpm12 => format!("TPM {number} of this machine is a TPM 1.2. {TPM12}"),
            (Some(_), Some(Device { registered: Some(_), .. })) => self.is_not_passed(number),
            (Some(_), _) => {
                let way = self.other_way().map(|other| format!(": use {other}, which is for one program at a time"));
                format!("This kernel has TPM {number}, but no resource manager{}", way.unwrap_or_default())
            }
            (None, _) if self.machine.tpms.is_empty() => NO_TPM.to_owned(),
            (None, _) => match self.others() {
                Some(others) => format!("The kernel has no TPM {number}. Name the device of another: {others}"),
                None => format!("The kernel has no TPM {number} (ls /sys/class/tpm)"),
            },
        }
    }

    /// The kernel has the device, and /dev has not.
    fn is_not_passed(&self, number: u32) -> String {
        let way = match (self.name, self.other_way()) {
            (Name::Bare(_), Some(other)) => format!(" Use {other}, which leads to the same TPM."),
            (_, Some(other)) => format!(" There is {other}, which leads to the same TPM, for one program at a time."),
            (_, None) => String::new(),
        };
        format!(
            "The kernel has TPM {number}, but this device is missing from /dev.{way} In a container, pass it: --device {} \
             (docker, podman), or a device of type unix-char (LXD). Otherwise have udev create it (udevadm trigger)",
            self.path.display()
        )
    }

    /// The devices of other TPMs, where it was not a person who chose this one.
    fn others(&self) -> Option<String> {
        let is_choice = self.failures.len() == 1;
        let there = self.machine.tpms.iter().filter(|tpm| !tpm.is_tpm12 && tpm.manager.node.is_some());
        let names: Vec<String> = there.map(|tpm| format!("device:/dev/tpmrm{}", tpm.number)).collect();
        (!is_choice && !names.is_empty()).then(|| names.join(", "))
    }

    fn has_no_driver(&self) -> String {
        match self.device() {
            Some(Device { registered: Some(number), node: Some(node) }) if number != node => format!(
                "The device number of this node is {node}, but that of the kernel is {number}: the node is left from before \
                 a reboot. Pass the device to the container again (--device {}), or have udev create it (udevadm \
                 trigger)",
                self.path.display()
            ),
            Some(_) => "The driver does not serve this device now; see its messages (dmesg | grep -i tpm)".to_owned(),
            None if self.machine.tpms.is_empty() => NO_TPM.to_owned(),
            None => {
                "No driver serves this node: the TPM was removed, or its driver is not loaded (dmesg | grep -i tpm)"
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests;
