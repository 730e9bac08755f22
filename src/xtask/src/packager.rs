// SPDX-License-Identifier: BSD-2-Clause
//! Running a distribution's builder of packages with the compiler that built this program.

use anyhow::{Context, Result};
use std::env;
use std::fs;
use std::path::Path;
use xshell::{Shell, cmd};

/// Runs `command` in the shell's directory; what it prints goes to `log`, and its end is shown when it fails.
///
/// The builders change the home directory, where rustup looks for its toolchains, so that the toolchain comes first in
/// the search path. Of cargo's settings those of the package count.
pub(crate) fn run(shell: &Shell, command: &[&str], log: &Path) -> Result<()> {
    let sysroot = cmd!(shell, "rustc --print sysroot").quiet().read()?;
    let path = format!("{sysroot}/bin:{}", env::var("PATH")?);
    println!("building the packages; the log is {}", log.display());
    let script = "log=$1; shift; exec \"$@\" >\"$log\" 2>&1 </dev/null";
    let mut build = cmd!(shell, "sh -c {script} sh {log} {command...}").env("PATH", path);
    for setting in ["CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
        build = build.env_remove(setting);
    }
    build.quiet().run().with_context(|| format!("the packages do not build:\n{}", end_of(log)))
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
}
