// SPDX-License-Identifier: BSD-2-Clause
//! Programs of unprivileged users, who cannot read the staged tree.

use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use tss2_kit::{program, stage};

/// A copy that every user can read: the loader, the modules for devices and for the stick, and the program that opens
/// the TCTI of its argument.
pub(crate) struct PublicCopy(TempDir);

impl PublicCopy {
    pub(crate) fn new() -> PublicCopy {
        let copy = PublicCopy(program::readable_dir());
        copy.add(&program::link_tctildr());
        for library in ["tctildr", "tcti-device", "tcti-spi-ltt2go"] {
            copy.add(&stage::library(library));
        }
        copy
    }

    fn add(&self, file: &Path) {
        fs::copy(file, self.0.path().join(file.file_name().unwrap())).unwrap();
    }

    /// Returns the program, run as a user with a single group.
    pub(crate) fn open(&self, user: &str, group: &str, name_conf: &str) -> Command {
        let mut command = stage::command("setpriv");
        command.args(["--reuid", user, "--regid", group, "--clear-groups"]);
        command.arg(self.0.path().join("link-tctildr")).arg(name_conf).env("LD_LIBRARY_PATH", self.0.path());
        command
    }
}
