// SPDX-License-Identifier: BSD-2-Clause
//! Checks that builds are reproducible: builds the libraries again from a copy of the sources, with vendored crates, in
//! another target directory, and compares them byte for byte.

use crate::install;
use crate::layout::{self, Content, Options};
use crate::packages::vendor;
use crate::project::Project;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Builds twice and fails with the names of the libraries that differ.
pub(crate) fn run(project: &Project) -> Result<()> {
    let dir = project.target.join("reproducible");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    let copy = Project { root: dir.join("copy"), target: dir.join("built") };
    for path in project.files(".")? {
        let to = copy.root.join(&path);
        fs::create_dir_all(to.parent().context("a path without a directory")?)?;
        fs::copy(project.root.join(&path), &to).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    vendor::vendor(project, &copy.root.join(vendor::DIR))?;
    fs::copy(project.root.join(vendor::CONFIG), copy.root.join(".cargo/config.toml"))?;

    let (first, second) = (install::stage(project)?, install::stage(&copy)?);
    let mut different = Vec::new();
    for file in layout::files(project, &Options::at(Path::new("")))? {
        if matches!(file.content, Content::Library(_))
            && fs::read(first.join(&file.to))? != fs::read(second.join(&file.to))?
        {
            different.push(file.to.display().to_string());
        }
    }
    if !different.is_empty() {
        bail!("these files differ between {} and {}: {}", first.display(), second.display(), different.join(" "));
    }
    println!("the second build, from another directory and vendored crates, produced identical libraries");
    Ok(fs::remove_dir_all(&dir)?)
}
