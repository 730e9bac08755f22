// SPDX-License-Identifier: BSD-2-Clause
//! The next boot: an initramfs and a disk that a guest has left in /run/vm/next. The machine boots them after the command has
//! finished, with the same TPM, as after a reboot. [`left_in`] finds them.

use crate::script::EXIT_PORT;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Name of the directory in the one that guest and host share.
const DIRECTORY: &str = "next";

/// The files to boot.
pub(crate) struct Next {
    pub(crate) initramfs: PathBuf,
    /// The image of a virtio disk, /dev/vda.
    pub(crate) disk: PathBuf,
    /// Appended to the kernel's command line.
    pub(crate) words: String,
}

/// Returns the files that the guest has left, if any. Fails if some are missing.
pub(crate) fn left_in(share: &Path) -> Result<Option<Next>> {
    let dir = share.join(DIRECTORY);
    if !dir.exists() {
        return Ok(None);
    }
    let [initramfs, disk, words] = ["initramfs", "disk", "words"].map(|name| dir.join(name));
    ensure!(initramfs.exists() && disk.exists(), "{} contains no initramfs or no disk", dir.display());
    let words = fs::read_to_string(&words).with_context(|| format!("cannot read {}", words.display()))?;
    Ok(Some(Next { initramfs, disk, words: words.trim().to_owned() }))
}

/// Returns the byte that the guest has written to the port of isa-debug-exit. QEMU doubles it and adds one.
pub(crate) fn status(qemu: ExitStatus, stderr: &str) -> Result<i32> {
    match qemu.code() {
        Some(code) if code & 1 == 1 => Ok(code >> 1),
        Some(0) => bail!("the machine powered off, or its kernel panicked, before it wrote to port {EXIT_PORT:#x}"),
        _ => bail!("QEMU exited with {qemu}. {}", stderr.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn the_exit_status_is_the_byte_written_to_the_port() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        assert_eq!(status(exit(1), "").unwrap(), 0);
        assert_eq!(status(exit(7), "").unwrap(), 3);
        assert!(status(exit(0), "").is_err());
        assert!(status(ExitStatus::from_raw(9), "").is_err());
    }

    #[test]
    fn an_incomplete_next_boot_is_an_error() {
        let share = tempfile::tempdir().unwrap();
        assert!(left_in(share.path()).unwrap().is_none());
        fs::create_dir(share.path().join(DIRECTORY)).unwrap();
        assert!(left_in(share.path()).is_err());
    }
}
