// SPDX-License-Identifier: BSD-2-Clause
//! Why a TPM device does not open, and what a person can do about it: [`Failure::reason`] and [`remedy`]. What the machine
//! shows is looked up here; the sentences of `advice` and `rights` follow from that alone.

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

/// What [`kind`] says of a device such as /dev/tpmrm0.
pub const CHARACTER_DEVICE: &str = "a character device";

/// A device that was tried in vain.
#[derive(Debug)]
pub struct Failure {
    path: PathBuf,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// It does not open.
    System(Errno),
    /// It is a file of this kind.
    Kind(&'static str),
    /// It opens, and the TPM behind it is a TPM 1.2.
    Tpm12,
}

impl Failure {
    /// `open(2)` failed.
    pub fn system(path: &Path, error: Errno) -> Failure {
        Failure { path: path.to_owned(), cause: Cause::System(error) }
    }

    /// The path, and why it is of no use.
    pub fn reason(&self) -> String {
        match self.cause {
            Cause::System(error) => reason(&self.path, error),
            Cause::Kind(kind) => format!("{}: this is {kind}", visible(&self.path)),
            Cause::Tpm12 => format!("{}: the TPM behind it is a TPM 1.2", visible(&self.path)),
        }
    }

    /// Whether the system denied access.
    pub fn is_denial(&self) -> bool {
        matches!(self.cause, Cause::System(error) if is_denial(error))
    }
}

/// Whether the system denied access.
pub fn is_denial(error: Errno) -> bool {
    matches!(error, Errno::EACCES | Errno::EPERM)
}

/// What kind of file is open.
pub fn kind(fd: BorrowedFd<'_>) -> &'static str {
    // Not libc's fstat: on 32 bits it refuses files with times after 2038.
    match fstat(fd).map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)) {
        FileType::CharacterDevice => CHARACTER_DEVICE,
        FileType::RegularFile => "a regular file",
        FileType::Fifo => "a pipe",
        FileType::BlockDevice => "a block device",
        _ => "some other kind of file",
    }
}

/// Whether what opened can be a TPM 2.0.
pub fn check(path: &Path, fd: BorrowedFd<'_>) -> Result<(), Failure> {
    let cause = match kind(fd) {
        // By its number, for a container may have it under the name of another.
        CHARACTER_DEVICE if registration(fd).is_some_and(|dir| is_tpm12(&dir)) => Cause::Tpm12,
        CHARACTER_DEVICE if is_memory(fd) => Cause::Kind("a device of the system, such as /dev/null, and no TPM"),
        CHARACTER_DEVICE => return Ok(()),
        kind => Cause::Kind(kind),
    };
    Err(Failure { path: path.to_owned(), cause })
}

/// Whether it is one of /dev/null and its like, whose driver is the one for memory (Linux, admin-guide/devices.txt: 1).
fn is_memory(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|stat| major(stat.st_rdev) == 1)
}

/// Whether the kernel still has a driver for the device that is open; `true` where that cannot be seen.
pub fn is_registered(fd: BorrowedFd<'_>) -> bool {
    registration(fd).is_none_or(|dir| Path::new(&dir).exists() || !Path::new(DEVICES).exists())
}

/// Where sysfs has the character devices, by number.
const DEVICES: &str = "/sys/dev/char/";

/// Where it has this one.
fn registration(fd: BorrowedFd<'_>) -> Option<String> {
    let number = fstat(fd).ok()?.st_rdev;
    Some(format!("{DEVICES}{}:{}", major(number), minor(number)))
}

/// Why a path does not open.
pub fn reason(path: &Path, error: Errno) -> String {
    let reason = format!("{}: {}", visible(path), error.desc());
    match error {
        denial if is_denial(denial) => format!("{reason} ({})", rights::show(Node::at(path), &Names::of_this_system())),
        Errno::EBUSY => format!("{reason} (one program at a time may hold this device, and one does)"),
        _ => reason,
    }
}

/// What to do about failures to open devices: for the one that is nearest to success.
pub fn remedy(failures: &[Failure]) -> String {
    advice::on(failures, &Machine::look())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;
    use std::os::fd::AsFd;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_file_of_the_year_2040_is_looked_at() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let in_2040 = SystemTime::UNIX_EPOCH + Duration::from_secs(2_208_988_800);
        file.as_file().set_times(FileTimes::new().set_accessed(in_2040).set_modified(in_2040)).unwrap();
        assert_eq!(kind(file.as_file().as_fd()), "a regular file");
        assert_eq!(registration(file.as_file().as_fd()).unwrap(), "/sys/dev/char/0:0");
        assert!(Node::at(file.path()).is_ok());
    }
}
