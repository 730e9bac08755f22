// SPDX-License-Identifier: BSD-2-Clause
//! What the distribution's libtss2-fapi is told: which TPM, and where it keeps its keys.

use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A configuration, with directories of its own.
pub struct Fapi(TempDir);

impl Fapi {
    /// For a profile and a TPM, which has not been provisioned.
    pub fn new(profile: &str, name_conf: &str) -> Fapi {
        let fapi = Fapi(tempfile::tempdir().unwrap());
        let place = |name: &str| {
            let path = fapi.directory().join(name);
            fs::create_dir(&path).unwrap();
            path.display().to_string()
        };
        let (user, system, log) = (place("user"), place("system"), place("log"));
        let configuration = format!(
            r#"{{"profile_name": "{profile}", "profile_dir": "/etc/tpm2-tss/fapi-profiles/", "user_dir": "{user}",
                "system_dir": "{system}", "log_dir": "{log}", "system_pcrs": [], "ek_cert_less": "yes",
                "tcti": "{name_conf}"}}"#
        );
        fs::write(fapi.directory().join("fapi.json"), configuration).unwrap();
        fapi
    }

    /// The directory, for other files.
    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    /// Tells a program.
    pub fn configure(&self, command: &mut Command) {
        command.env("TSS2_FAPICONF", self.directory().join("fapi.json"));
    }
}
