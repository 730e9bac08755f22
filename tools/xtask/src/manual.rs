// SPDX-License-Identifier: BSD-2-Clause
//! The manual pages: Markdown in `src/*/man` and `dist/man`, roff where they are installed.

use crate::project::{Project, names_in};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::cmd;

/// Whether pages can be converted here.
pub(crate) fn has_converter(project: &Project) -> Result<bool> {
    let shell = project.shell()?;
    Ok(cmd!(shell, "go-md2man -help").quiet().ignore_stderr().ignore_stdout().ignore_status().run().is_ok())
}

/// The pages, by their paths in the repository.
pub(crate) fn pages(project: &Project) -> Result<Vec<PathBuf>> {
    let src = names_in(&project.root.join("src"))?.into_iter().map(|dir| Path::new("src").join(dir).join("man"));
    let mut pages = Vec::new();
    for dir in src.chain([PathBuf::from("dist/man")]).filter(|dir| project.root.join(dir).is_dir()) {
        let names = names_in(&project.root.join(&dir))?.into_iter().filter(|name| name.ends_with(".md"));
        pages.extend(names.map(|name| dir.join(name)));
    }
    Ok(pages)
}

/// The name of the installed page: `tss2-tcti-foo.7`.
pub(crate) fn name(page: &Path) -> String {
    page.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Converts a page.
pub(crate) fn convert(project: &Project, page: &Path) -> Result<String> {
    let shell = project.shell()?;
    let roff = cmd!(shell, "go-md2man -in {page}").quiet().read()?;
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
pub(crate) fn other_names(project: &Project, page: &Path) -> Result<Vec<String>> {
    let own = name(page);
    let text = fs::read_to_string(project.root.join(page)).with_context(|| page.display().to_string())?;
    let names = text.split("# NAME").nth(1).and_then(|rest| rest.split(" - ").next()).unwrap_or_default();
    let names =
        names.split(',').map(str::trim).filter(|name| !name.is_empty() && !own.starts_with(&format!("{name}.")));
    Ok(names.map(str::to_owned).collect())
}
