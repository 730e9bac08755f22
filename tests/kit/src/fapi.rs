// SPDX-License-Identifier: BSD-2-Clause
//! Configures the distribution's libtss2-fapi: [`Fapi`].

use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A configuration file of libtss2-fapi, with directories of its own for keys and logs.
pub struct Fapi(TempDir);

impl Fapi {
    /// Writes a configuration for a profile and a TPM. Nothing is provisioned.
    pub fn new(profile: &str, name_conf: &str) -> Fapi {
        let fapi = Fapi(tempfile::tempdir().unwrap());
        let directory = |name: &str| {
            let path = fapi.directory().join(name);
            fs::create_dir(&path).unwrap();
            path.display().to_string()
        };
        let (user, system, log) = (directory("user"), directory("system"), directory("log"));
        let configuration = format!(
            r#"{{"profile_name": "{profile}", "profile_dir": "/etc/tpm2-tss/fapi-profiles/", "user_dir": "{user}",
                "system_dir": "{system}", "log_dir": "{log}", "system_pcrs": [], "ek_cert_less": "yes",
                "tcti": "{name_conf}"}}"#
        );
        fs::write(fapi.directory().join("fapi.json"), configuration).unwrap();
        fapi
    }

    /// Returns the directory, which has room for other files.
    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    /// Has a program use this configuration.
    pub fn configure(&self, command: &mut Command) {
        command.env("TSS2_FAPICONF", self.directory().join("fapi.json"));
    }
}
