// SPDX-License-Identifier: BSD-2-Clause
//! What TPMs the kernel has, and which of their devices are in /dev.

use nix::sys::stat::{major, minor, stat};
use nix::unistd::geteuid;
use std::fs;
use std::path::Path;

/// The machine as this process sees it.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) tpms: Vec<Tpm>,
    /// Whether this process is root.
    pub(super) is_root: bool,
}

/// A TPM of the kernel: /sys/class/tpm/tpmN.
#[derive(Default)]
pub(super) struct Tpm {
    pub(super) number: u32,
    /// Whether it is a TPM 1.2.
    pub(super) is_tpm12: bool,
    pub(super) bare: Device,
    pub(super) manager: Device,
}

/// One of the devices of a TPM.
#[derive(Clone, Default)]
pub(super) struct Device {
    /// MAJOR:MINOR, as sysfs says; absent where the kernel has no such device.
    pub(super) registered: Option<String>,
    /// MAJOR:MINOR of the node in /dev, if it is there.
    pub(super) node: Option<String>,
}

impl Machine {
    pub(super) fn look() -> Machine {
        let entries = fs::read_dir("/sys/class/tpm").into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut tpms: Vec<Tpm> = names.filter_map(|name| Tpm::look(name.strip_prefix("tpm")?.parse().ok()?)).collect();
        tpms.sort_by_key(|tpm| tpm.number);
        Machine { tpms, is_root: geteuid().is_root() }
    }

    pub(super) fn tpm(&self, number: u32) -> Option<&Tpm> {
        self.tpms.iter().find(|tpm| tpm.number == number)
    }
}

impl Tpm {
    fn look(number: u32) -> Option<Tpm> {
        let version = fs::read_to_string(format!("/sys/class/tpm/tpm{number}/tpm_version_major")).unwrap_or_default();
        Some(Tpm {
            number,
            is_tpm12: version.trim() == "1",
            bare: Device::look("tpm", number),
            manager: Device::look("tpmrm", number),
        })
    }
}

impl Device {
    fn look(class: &str, number: u32) -> Device {
        let registered = fs::read_to_string(format!("/sys/class/{class}/{class}{number}/dev")).ok();
        let node = stat(Path::new(&format!("/dev/{class}{number}"))).ok();
        Device {
            registered: registered.map(|number| number.trim().to_owned()),
            node: node.map(|stat| format!("{}:{}", major(stat.st_rdev), minor(stat.st_rdev))),
        }
    }
}
