// SPDX-License-Identifier: BSD-2-Clause
//! Needs of these tests alone: the C modules of tpm2-tss, ssh, and properties of this machine.

use crate::{indirect, sid};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use tss2_kit::need::{Need, Unmet};

/// The release of tpm2-tss in Debian 12 that `c-tests/allowed-differences.txt` describes.
pub(crate) const RELEASE: &str = "3.2.1";
/// The newest release that it describes.
pub(crate) const SID_RELEASE: &str = "4.2.0";

/// The distribution's module for the kernel's devices.
pub(crate) const C_DEVICE: Need = Need::Library("libtss2-tcti-device.so.0", "libtss2-tcti-device0");
/// The distribution's module for swtpm.
pub(crate) const C_SWTPM: Need = Need::Library("libtss2-tcti-swtpm.so.0", "libtss2-tcti-swtpm0");
/// The distribution's module for the simulators.
pub(crate) const C_MSSIM: Need = Need::Library("libtss2-tcti-mssim.so.0", "libtss2-tcti-mssim0");
/// The distribution's module for commands.
pub(crate) const C_CMD: Need = Need::Library("libtss2-tcti-cmd.so.0", "libtss2-tcti-cmd0");
/// The distribution's loader.
pub(crate) const C_TCTILDR: Need = Need::Library("libtss2-tctildr.so.0", "libtss2-tctildr0");
/// An ssh server.
pub(crate) const SSHD: Need = Need::File("/usr/sbin/sshd", "openssh-server");
/// An ssh client.
pub(crate) const SSH: Need = Need::Program("ssh", "openssh-client");

/// The distribution's tpm2-tss is [`RELEASE`].
pub(crate) const DISTRIBUTION_RELEASE: Need = Need::Custom(distribution_release);
/// The C modules of Debian sid are unpacked, and they are [`SID_RELEASE`].
pub(crate) const SID: Need = Need::Custom(sid_release);
/// A tpm2_send that accepts commands of ten bytes, the shortest possible. That of tpm2-tools 5.7 fails with "Failed to
/// read command body".
pub(crate) const SHORT_COMMANDS: Need = Need::Custom(short_commands);
/// A machine on which the loader finds no TPM by default.
pub(crate) const NO_TPM: Need = Need::Custom(no_tpm);
/// A machine without a LetsTrust-TPM2Go.
pub(crate) const NO_STICK: Need = Need::Custom(no_stick);

fn distribution_release() -> Result<(), Unmet> {
    let version = Command::new("pkg-config").args(["--modversion", "tss2-tctildr"]).output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let reason = || format!("needs tpm2-tss {RELEASE}");
    match version.as_str() {
        RELEASE => Ok(()),
        "" => Err(Unmet::Fixable(reason())),
        _ => Err(Unmet::Inherent(reason())),
    }
}

fn sid_release() -> Result<(), Unmet> {
    match sid::release() {
        Some(found) if found == SID_RELEASE => Ok(()),
        Some(found) => Err(Unmet::Inherent(format!("needs tpm2-tss {SID_RELEASE}, and Debian sid has {found}"))),
        None => Err(Unmet::Fixable(
            "needs the C modules of Debian sid: cargo xtask test e2e, where apt has a mirror".to_owned(),
        )),
    }
}

fn short_commands() -> Result<(), Unmet> {
    match indirect::forwards_short_commands() {
        true => Ok(()),
        false => Err(Unmet::Inherent("needs a tpm2_send that accepts commands of ten bytes".to_owned())),
    }
}

fn no_tpm() -> Result<(), Unmet> {
    let devices = ["/dev/tpmrm0", "/dev/tpm0", "/dev/tcmrm0", "/dev/tcm0"];
    let simulator = || TcpStream::connect(("localhost", 2321)).is_ok().then_some("a simulator on port 2321");
    match devices.into_iter().find(|path| Path::new(path).exists()).or_else(simulator) {
        None => Ok(()),
        Some(tpm) => Err(Unmet::Fixable(format!("needs a machine without {tpm}"))),
    }
}

fn no_stick() -> Result<(), Unmet> {
    let mut devices = fs::read_dir("/sys/bus/usb/devices").into_iter().flatten().flatten();
    let is_stick = devices.any(|device| {
        let id = |name| fs::read_to_string(device.path().join(name)).unwrap_or_default();
        (id("idVendor").trim(), id("idProduct").trim()) == ("365d", "1337")
    });
    match is_stick {
        false => Ok(()),
        true => Err(Unmet::Fixable("needs a machine without a LetsTrust-TPM2Go".to_owned())),
    }
}
