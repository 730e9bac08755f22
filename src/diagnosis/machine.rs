// SPDX-License-Identifier: BSD-2-Clause
//! What TPMs the kernel has, and which of their devices are in /dev.

use nix::unistd::geteuid;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The machine as this process sees it.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) tpms: Vec<Tpm>,
    /// Whether this process is root.
    pub(super) is_root: bool,
}

/// A TPM of the kernel: /sys/class/tpm/tpmN.
pub(super) struct Tpm {
    /// N.
    pub(super) number: String,
    /// Whether it is a TPM 1.2.
    pub(super) is_tpm12: bool,
    pub(super) bare: Device,
    pub(super) manager: Device,
}

/// One of the devices of a TPM.
#[derive(Clone, Copy, Default)]
pub(super) struct Device {
    /// Whether sysfs has it.
    pub(super) is_registered: bool,
    /// Whether /dev has it.
    pub(super) is_in_dev: bool,
}

impl Machine {
    pub(super) fn look() -> Machine {
        let mut tpms = Vec::new();
        if let Ok(entries) = fs::read_dir("/sys/class/tpm") {
            for entry in entries.flatten() {
                if let Some(number) = entry.file_name().to_str().and_then(|name| name.strip_prefix("tpm")) {
                    tpms.push(Tpm {
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

    pub(super) fn tpm(&self, number: &str) -> Option<&Tpm> {
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

/// What sysfs says of the TPM in this directory (Linux `Documentation/ABI/stable/sysfs-class-tpm`).
pub(super) fn is_tpm12(dir: &str) -> bool {
    let mut version = [0];
    let file = File::open(format!("{dir}/tpm_version_major"));
    file.and_then(|mut file| file.read(&mut version)).is_ok() && version == *b"1"
}
