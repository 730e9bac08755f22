// SPDX-License-Identifier: BSD-2-Clause
//! Why a TPM device does not open, and what a person can do about it.

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat, stat};
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// What [`kind`] says of a device such as /dev/tpmrm0.
pub const CHARACTER_DEVICE: &str = "a character device";

/// Whether the system denied access.
pub fn is_denial(error: Errno) -> bool {
    matches!(error, Errno::EACCES | Errno::EPERM)
}

/// What kind of file is open.
pub fn kind(fd: BorrowedFd<'_>) -> &'static str {
    let format = fstat(fd).map_or(SFlag::empty(), |stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
    match format {
        SFlag::S_IFCHR => CHARACTER_DEVICE,
        SFlag::S_IFREG => "a regular file",
        SFlag::S_IFIFO => "a pipe",
        SFlag::S_IFBLK => "a block device",
        _ => "some other kind of file",
    }
}

/// Why a path does not open.
pub fn reason(path: &Path, error: Errno) -> String {
    let reason = format!("{}: {}", path.display(), error.desc());
    match error {
        denial if is_denial(denial) => format!("{reason} ({})", rights(path)),
        Errno::EBUSY => format!("{reason} (one program at a time may hold this device, and one does)"),
        _ => reason,
    }
}

/// What to do about failures to open devices: for the one that is nearest to success.
pub fn remedy(errors: &[Errno]) -> String {
    let any = |wanted: fn(Errno) -> bool| errors.iter().any(|error| wanted(*error));
    if any(|error| error == Errno::EBUSY) {
        "Use /dev/tpmrm0, which programs can share, or end the program that holds the device".to_owned()
    } else if errors.iter().all(|error| *error == Errno::EISDIR) {
        "Wanted is a character device such as /dev/tpmrm0".to_owned()
    } else if any(is_denial) {
        "Install the udev rules that give /dev/tpmrm0 to group tss, and be in that group (usermod -a -G tss USER, then \
         log in anew)"
            .to_owned()
    } else if any(|error| matches!(error, Errno::EMFILE | Errno::ENFILE)) {
        // Nor can anybody look at /sys now.
        "Close files, or raise the limit of those that are open (ulimit -n)".to_owned()
    } else {
        let found = fs::read_dir("/sys/class/tpm").map_or(0, |entries| entries.flatten().count());
        let kernel = match found {
            0 => "The kernel has found no TPM (/sys/class/tpm is empty): enable it in the firmware set-up",
            _ => "The kernel has a TPM (see /sys/class/tpm), but this is not its device: use /dev/tpmrm0",
        };
        format!("{kernel}, or use a simulator: TCTI swtpm or libtpms")
    }
}

/// Why the driver refused a command (Linux `tpm_common_write`, `tpm_dev_transmit`).
pub fn of_write(error: Errno) -> String {
    let hint = match error {
        Errno::E2BIG => ": the driver takes at most 4096 bytes",
        Errno::EINVAL => ": the driver holds it for no TPM command",
        Errno::EBUSY => ": the driver still works on an earlier command",
        Errno::EPIPE | Errno::ENODEV => ": the TPM was removed",
        Errno::ETIME | Errno::ETIMEDOUT => ": the TPM does not answer the driver",
        _ => "",
    };
    format!("{}{hint}", error.desc())
}

/// Why the driver gave no response (Linux `tpm2_map_command`).
pub fn of_read(error: Errno) -> String {
    let hint = match error {
        Errno::EINVAL | Errno::ENOENT => {
            ": the command names an object or a session that this connection to the resource manager has not"
        }
        Errno::EPIPE | Errno::ENODEV => ": the TPM was removed",
        Errno::ETIME | Errno::ETIMEDOUT => ": the TPM does not answer the driver",
        _ => "",
    };
    format!("{}{hint}", error.desc())
}

/// Mode and owner of the device, and who asks.
fn rights(path: &Path) -> String {
    let user = |uid: Uid| User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let group = |gid: Gid| Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name);
    let us = format!("we are {}:{}", user(geteuid()), group(getegid()));
    match stat(path) {
        Ok(FileStat { st_mode, st_uid, st_gid, .. }) => format!(
            "mode {:04o}, owner {}:{}, {us}",
            st_mode & 0o7777,
            user(Uid::from_raw(st_uid)),
            group(Gid::from_raw(st_gid))
        ),
        Err(error) => format!("not even its mode can be read: {}; {us}", error.desc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_descriptors_is_not_told_that_there_is_no_tpm() {
        assert!(remedy(&[Errno::EMFILE]).contains("ulimit -n"));
        assert!(remedy(&[Errno::ENOENT]).contains("/sys/class/tpm"));
    }
}
