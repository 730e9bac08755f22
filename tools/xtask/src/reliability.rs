// SPDX-License-Identifier: BSD-2-Clause
//! Generates docs/reliability.md from the tests that verify its claims.

use crate::project::Project;
use anyhow::Result;
use std::fs;
use xshell::cmd;

/// The page, relative to the root.
const PAGE: &str = "docs/reliability.md";

/// Runs the test program in the mode that prints the page, and writes its output to [`PAGE`].
pub(crate) fn write(project: &Project) -> Result<()> {
    let shell = project.shell()?;
    let page = cmd!(shell, "cargo test --quiet --locked --package tss2-reliability --test reliability -- page")
        .quiet()
        .read()?;
    let path = project.root.join(PAGE);
    fs::create_dir_all(project.root.join("docs"))?;
    fs::write(path, page + "\n")?;
    println!("wrote {PAGE}");
    Ok(())
}
