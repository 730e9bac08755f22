// SPDX-License-Identifier: BSD-2-Clause
//! An initramfs and a disk that a guest leaves in /run/vm/next: the machine boots them when it has come to its end, on the
//! same TPM, as after a reboot. [`left_in`] finds them.

use crate::script::EXIT_PORT;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// The directory, below that which guest and host share.
const DIRECTORY: &str = "next";

/// What is booted.
pub(crate) struct Next {
    pub(crate) initramfs: PathBuf,
    /// A disk on virtio, /dev/vda.
    pub(crate) disk: PathBuf,
    /// More words for the kernel's command line.
    pub(crate) words: String,
}

/// What the guest has left, if it has.
pub(crate) fn left_in(share: &Path) -> Result<Option<Next>> {
    let dir = share.join(DIRECTORY);
    if !dir.exists() {
        return Ok(None);
    }
    let [initramfs, disk, words] = ["initramfs", "disk", "words"].map(|name| dir.join(name));
    ensure!(initramfs.exists() && disk.exists(), "the guest has left no initramfs, or no disk");
    let words = fs::read_to_string(&words).with_context(|| format!("cannot read {}", words.display()))?;
    Ok(Some(Next { initramfs, disk, words: words.trim().to_owned() }))
}

/// How it ended, by the byte that it has written to the port of isa-debug-exit: QEMU doubles it and adds one.
pub(crate) fn status(ended: ExitStatus, complaint: &str) -> Result<i32> {
    match ended.code() {
        Some(code) if code & 1 == 1 => Ok(code >> 1),
        Some(0) => bail!(
            "the machine was switched off, or its kernel panicked, before anything was written to port {EXIT_PORT:#x}"
        ),
        _ => bail!("QEMU ended with {ended}. {}", complaint.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn the_byte_that_was_written_is_the_status() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        assert_eq!(status(exit(1), "").unwrap(), 0);
        assert_eq!(status(exit(7), "").unwrap(), 3);
        assert!(status(exit(0), "").is_err());
        assert!(status(ExitStatus::from_raw(9), "").is_err());
    }

    #[test]
    fn most_guests_leave_nothing_to_boot() {
        let share = tempfile::tempdir().unwrap();
        assert!(left_in(share.path()).unwrap().is_none());
        fs::create_dir(share.path().join(DIRECTORY)).unwrap();
        assert!(left_in(share.path()).is_err());
    }
}
