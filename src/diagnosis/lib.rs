// SPDX-License-Identifier: BSD-2-Clause
//! Explains why a TPM device cannot be used, and what the user can do about it: [`UnusableDevice::reason`] and [`remedy`]. The state of
//! the system is read here and in `machine`; `advice` derives its sentences from that state alone.

mod advice;
mod machine;
mod rights;

use machine::{Machine, is_tpm12};
use nix::errno::Errno;
use rights::{Names, Node};
use rustix::fs::{FileType, fstat, major, minor};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use tcti_core::visible::visible;

/// The result of [`kind`] for a device such as /dev/tpmrm0.
pub const CHARACTER_DEVICE: &str = "a character device";

/// A device that cannot be used.
#[derive(Debug)]
pub struct UnusableDevice {
    path: PathBuf,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// `open(2)` failed.
    System(Errno),
    /// It is another kind of file.
    Kind(&'static str),
    /// It opens, but its TPM is a TPM 1.2.
    Tpm12,
}

impl UnusableDevice {
    /// Records that `open(2)` failed.
    pub fn system(path: &Path, error: Errno) -> UnusableDevice {
        UnusableDevice { path: path.to_owned(), cause: Cause::System(error) }
    }

    /// Returns the path and the reason for which it cannot be used.
    pub fn reason(&self) -> String {
        match self.cause {
            Cause::System(error) => reason(&self.path, error),
            Cause::Kind(kind) => format!("{}: this is {kind}", visible(&self.path)),
            Cause::Tpm12 => format!("{}: the TPM behind it is a TPM 1.2", visible(&self.path)),
        }
    }

    /// Returns whether the system denied access.
    pub fn is_denial(&self) -> bool {
        matches!(self.cause, Cause::System(error) if is_denial(error))
    }
}

/// Returns whether an error means that the system denied access.
pub fn is_denial(error: Errno) -> bool {
    matches!(error, Errno::EACCES | Errno::EPERM)
}

/// Returns the kind of an open file, for messages.
pub fn kind(fd: BorrowedFd<'_>) -> &'static str {
    // libc's fstat fails on 32-bit systems for files with time stamps after 2038.
    match fstat(fd).map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)) {
        FileType::CharacterDevice => CHARACTER_DEVICE,
        FileType::RegularFile => "a regular file",
        FileType::Fifo => "a pipe",
        FileType::BlockDevice => "a block device",
        _ => "some other kind of file",
    }
}

/// Checks whether an open file can be a TPM 2.0.
pub fn check(path: &Path, fd: BorrowedFd<'_>) -> Result<(), UnusableDevice> {
    let cause = match kind(fd) {
        // Identified by device number, because a container may have the device under another name.
        CHARACTER_DEVICE if registration(fd).is_some_and(|dir| is_tpm12(&dir)) => Cause::Tpm12,
        CHARACTER_DEVICE if is_memory(fd) => Cause::Kind("a system device, such as /dev/null, and not a TPM"),
        CHARACTER_DEVICE => return Ok(()),
        kind => Cause::Kind(kind),
    };
    Err(UnusableDevice { path: path.to_owned(), cause })
}

/// Returns whether the device belongs to the memory driver, such as /dev/null (major number 1, Linux
/// admin-guide/devices.txt).
fn is_memory(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|stat| major(stat.st_rdev) == 1)
}

/// Returns whether the kernel still has a driver for an open device; `true` if sysfs is not available.
pub fn is_registered(fd: BorrowedFd<'_>) -> bool {
    registration(fd).is_none_or(|dir| Path::new(&dir).exists() || !Path::new(DEVICES).exists())
}

/// The directory of sysfs with the character devices by number.
const DEVICES: &str = "/sys/dev/char/";

/// Returns the directory of sysfs for an open device.
fn registration(fd: BorrowedFd<'_>) -> Option<String> {
    let number = fstat(fd).ok()?.st_rdev;
    Some(format!("{DEVICES}{}:{}", major(number), minor(number)))
}

/// Returns the path and the reason for which it does not open.
pub fn reason(path: &Path, error: Errno) -> String {
    let reason = format!("{}: {}", visible(path), error.desc());
    match error {
        denial if is_denial(denial) => format!("{reason} ({})", rights::show(Node::at(path), &Names::of_this_system())),
        Errno::EBUSY => {
            format!("{reason} (only one program can open this device at a time, and another one has it open)")
        }
        _ => reason,
    }
}

/// Returns advice about the failure that is easiest to resolve.
pub fn remedy(failures: &[UnusableDevice]) -> String {
    advice::on(failures, &Machine::look())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;
    use std::os::fd::AsFd;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_file_with_time_stamps_after_2038_is_examined() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let in_2040 = SystemTime::UNIX_EPOCH + Duration::from_secs(2_208_988_800);
        file.as_file().set_times(FileTimes::new().set_accessed(in_2040).set_modified(in_2040)).unwrap();
        assert_eq!(kind(file.as_file().as_fd()), "a regular file");
        assert_eq!(registration(file.as_file().as_fd()).unwrap(), "/sys/dev/char/0:0");
        assert!(Node::at(file.path()).is_ok());
    }
}
