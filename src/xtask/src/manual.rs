// SPDX-License-Identifier: BSD-2-Clause
//! The manual pages: Markdown in `man`, roff where they are installed.

use crate::project::Project;
use anyhow::{Context, Result};
use std::fs;
use xshell::cmd;

/// Whether pages can be converted here.
pub(crate) fn has_converter(project: &Project) -> Result<bool> {
    let shell = project.shell()?;
    Ok(cmd!(shell, "go-md2man -help").quiet().ignore_stderr().ignore_stdout().ignore_status().run().is_ok())
}

/// Converts a page, named as in `man`.
pub(crate) fn convert(project: &Project, page: &str) -> Result<String> {
    let shell = project.shell()?;
    let roff = cmd!(shell, "go-md2man -in man/{page}").quiet().read()?;
    // Version 2.0 puts a paragraph behind each heading, where mandoc warns that it does nothing.
    let mut after_heading = false;
    let wanted = |line: &&str| {
        let superfluous = after_heading && *line == ".PP";
        after_heading = line.starts_with(".SH");
        !superfluous
    };
    Ok(roff.lines().filter(wanted).flat_map(|line| [line, "\n"]).collect())
}

/// What a page describes besides what its file is named after, as its section NAME has it: each is a way to the page.
pub(crate) fn other_names(project: &Project, page: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(project.root.join("man").join(page)).with_context(|| format!("man/{page}"))?;
    let names = text.split("# NAME").nth(1).and_then(|rest| rest.split(" - ").next()).unwrap_or_default();
    let names =
        names.split(',').map(str::trim).filter(|name| !name.is_empty() && !page.starts_with(&format!("{name}.")));
    Ok(names.map(str::to_owned).collect())
}
