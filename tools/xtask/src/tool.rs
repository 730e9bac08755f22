// SPDX-License-Identifier: BSD-2-Clause
//! Programs for cargo that no distribution has: built once from crates.io, into `target/tools`.

use crate::project::Project;
use anyhow::{Context, Result};
use std::path::PathBuf;
use xshell::cmd;

/// Builds the program `name` if it is not there in this version; gives its path. Building takes minutes: no test does.
pub(crate) fn install(project: &Project, name: &str, version: &str) -> Result<PathBuf> {
    let shell = project.shell()?;
    let (root, build) = (project.target.join("tools"), project.target.join("tools/build"));
    let program = root.join("bin").join(name);
    if !program.exists() {
        println!("building {name} {version}, which takes some minutes");
    }
    let install =
        cmd!(shell, "cargo install --quiet --locked --root {root} --target-dir {build} --version {version} {name}");
    install.quiet().ignore_stderr().run().with_context(|| format!("cannot build {name}"))?;
    shell.remove_path(build)?;
    Ok(program)
}
