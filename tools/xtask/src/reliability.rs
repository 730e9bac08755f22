// SPDX-License-Identifier: BSD-2-Clause
//! docs/reliability.md, written by the tests that hold it.

use crate::project::Project;
use anyhow::Result;
use std::fs;
use xshell::cmd;

/// Where the page is, relative to the root.
const PAGE: &str = "docs/reliability.md";

/// Writes the page.
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
