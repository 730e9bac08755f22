// SPDX-License-Identifier: BSD-2-Clause
//! Reads from sysfs which TPMs the kernel has, and which of their devices are in /dev: [`Machine::look`].

use nix::unistd::geteuid;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The system, as this process sees it.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) tpms: Vec<KernelTpm>,
    /// Whether this process runs as root.
    pub(super) is_root: bool,
}

/// A TPM that the kernel has found: /sys/class/tpm/tpmN.
pub(super) struct KernelTpm {
    /// N, in decimal.
    pub(super) number: String,
    /// Whether it is a TPM 1.2.
    pub(super) is_tpm12: bool,
    /// /dev/tpmN.
    pub(super) bare: Device,
    /// /dev/tpmrmN, the resource manager.
    pub(super) manager: Device,
}

/// A device of a TPM.
#[derive(Clone, Copy, Default)]
pub(super) struct Device {
    /// Whether it exists in sysfs.
    pub(super) is_registered: bool,
    /// Whether it exists in /dev.
    pub(super) is_in_dev: bool,
}

impl Machine {
    /// Reads the state of the system.
    pub(super) fn look() -> Machine {
        let mut tpms = Vec::new();
        if let Ok(entries) = fs::read_dir("/sys/class/tpm") {
            for entry in entries.flatten() {
                if let Some(number) = entry.file_name().to_str().and_then(|name| name.strip_prefix("tpm")) {
                    tpms.push(KernelTpm {
                        number: number.to_owned(),
                        is_tpm12: is_tpm12(&format!("/sys/class/tpm/tpm{number}")),
                        bare: Device::look("tpm", number),
                        manager: Device::look("tpmrm", number),
                    });
                }
            }
        }
        Machine { tpms, is_root: geteuid().is_root() }
    }

    /// Returns the TPM with a number.
    pub(super) fn tpm(&self, number: &str) -> Option<&KernelTpm> {
        self.tpms.iter().find(|tpm| tpm.number == number)
    }
}

impl Device {
    fn look(class: &str, number: &str) -> Device {
        let exists = |path: String| Path::new(&path).exists();
        Device {
            is_registered: exists(format!("/sys/class/{class}/{class}{number}")),
            is_in_dev: exists(format!("/dev/{class}{number}")),
        }
    }
}

/// Returns whether sysfs reports a TPM 1.2 in this directory (Linux `Documentation/ABI/stable/sysfs-class-tpm`).
pub(super) fn is_tpm12(dir: &str) -> bool {
    let mut version = [0];
    let file = File::open(format!("{dir}/tpm_version_major"));
    file.and_then(|mut file| file.read(&mut version)).is_ok() && version == *b"1"
}
