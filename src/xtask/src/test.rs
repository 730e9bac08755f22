// SPDX-License-Identifier: BSD-2-Clause
//! All tests, one after the other: units, programs against the staged tree, those that need a kernel of their own, the
//! commands of the README.

use crate::project::Project;
use crate::{compile, install, needs, readme, vm_test};
use anyhow::Result;
use xshell::cmd;

/// Fails with the first that fails. `quick`: the unit tests alone.
pub(crate) fn run(project: &Project, quick: bool, no_install: bool) -> Result<()> {
    let packages = if quick { needs::QUICK.to_vec() } else { [needs::TEST, needs::VM, needs::VM_TEST].concat() };
    needs::install(project, &packages, no_install)?;
    let shell = project.shell()?;
    // What goes wrong on purpose is no news.
    let units = cmd!(shell, "cargo test --locked --workspace --exclude tss2-e2e");
    units.env("TSS2_LOG", "all+NONE").run()?;
    if quick {
        println!("quick: only the unit tests were run");
        return Ok(());
    }
    let stage = install::stage(project)?;
    let sim = compile::release(project, ["sim-mssim", "sim-tis", "sim-tpm2go"])?;
    let tests = cmd!(shell, "cargo test --locked --package tss2-e2e");
    tests.env("TSS2_STAGE", &stage).env("TSS2_SIM", sim).run()?;
    vm_test::test(project, None)?;
    readme::run(project)?;
    println!("all tests passed");
    Ok(())
}
