// SPDX-License-Identifier: BSD-2-Clause
//! All tests, one after the other: units, then programs against the staged tree, then the commands of the README.

use crate::project::Project;
use crate::{install, needs, readme};
use anyhow::Result;
use xshell::cmd;

/// Fails with the first that fails. `quick`: the unit tests alone.
pub(crate) fn run(project: &Project, quick: bool, no_install: bool) -> Result<()> {
    needs::install(project, if quick { needs::QUICK } else { needs::TEST }, no_install)?;
    let shell = project.shell()?;
    cmd!(shell, "cargo test --locked --workspace --exclude tss2-e2e").run()?;
    if quick {
        println!("quick: only the unit tests were run");
        return Ok(());
    }
    let stage = install::stage(project)?;
    let sims = ["--package", "sim-mssim", "--package", "sim-tis", "--package", "sim-tpm2go"];
    cmd!(shell, "cargo build --quiet --release --locked {sims...}").quiet().run()?;
    let sim = project.target()?.join("release");
    let tests = cmd!(shell, "cargo test --locked --package tss2-e2e");
    tests.env("TSS2_STAGE", &stage).env("TSS2_SIM", sim).run()?;
    readme::run(project)?;
    println!("all tests passed");
    Ok(())
}
