// SPDX-License-Identifier: BSD-2-Clause
//! Running a distribution's builder of packages with the compiler that built this program.

use crate::place::Place;
use anyhow::{Context, Result};
use std::env;
use std::fs;
use std::path::Path;
use xshell::Shell;

/// The search path of a login.
const SYSTEM: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `command` in the shell's directory; what it prints goes to `log` there, and its end is shown when it fails.
///
/// The builders change the home directory, where rustup looks for its toolchains, so that `compiler`, the directory of
/// one, comes first in the search path. Of cargo's settings those of the package count.
pub(crate) fn run(shell: &Shell, place: &Place, command: &[&str], compiler: Option<&Path>, log: &str) -> Result<()> {
    let path = shell.current_dir().join(log);
    println!("building the packages; the log is {}", path.display());
    // Without the compiler the search path is the system's: that of this process may have another one.
    let inside = match (compiler, place) {
        (Some(compiler), Place::Here) => format!("{}:{}", compiler.display(), env::var("PATH")?),
        (Some(compiler), Place::Root(_)) => format!("{}:{SYSTEM}", compiler.display()),
        (None, _) => SYSTEM.to_owned(),
    };
    let inside = format!("PATH={inside}");
    let script = "log=$1; shift; exec \"$@\" >\"$log\" 2>&1 </dev/null";
    let words = [&["env", &inside, "sh", "-c", script, "sh", log], command].concat();
    let mut build = place.command(shell, &words)?;
    for setting in ["CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
        build = build.env_remove(setting);
    }
    build.quiet().run().with_context(|| format!("the packages do not build:\n{}", end_of(&path)))
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
}
