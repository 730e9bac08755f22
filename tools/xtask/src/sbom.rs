// SPDX-License-Identifier: BSD-2-Clause
//! A bill of materials for each library: what crates it is made of, in the CycloneDX format, in `target/sbom`.

use crate::project::Project;
use crate::{compile, tool};
use anyhow::{Context, Result};
use std::fs;
use xshell::cmd;

/// Writes `target/sbom/libtss2-tcti-foo.cdx.json` and so on, the same for the same commit.
pub(crate) fn run(project: &Project) -> Result<()> {
    let cyclonedx = tool::install(project, "cargo-cyclonedx", "0.5.9")?;
    let shell = project.shell()?;
    let date = cmd!(shell, "git log -1 --format=%ct").quiet().read()?;
    let sbom = project.target.join("sbom");
    fs::create_dir_all(&sbom)?;
    // It writes beside each manifest of the workspace, so it gets the name of a file to take away again.
    let name = "bill-of-materials";
    let describe = cmd!(
        shell,
        "{cyclonedx} cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target all --override-filename {name}"
    );
    describe.env("SOURCE_DATE_EPOCH", date).quiet().run()?;
    for library in project.libraries()? {
        let from = project.root.join(library.module()).join(format!("{name}.json"));
        let to = sbom.join(format!("lib{}.cdx.json", library.name()));
        let bill = fs::read_to_string(&from).with_context(|| format!("cannot read {}", from.display()))?;
        fs::write(to, bill.replace(&project.root.display().to_string(), compile::OURS))?;
    }
    for written in project.files(".")?.iter().filter(|path| path.file_stem().is_some_and(|stem| stem == name)) {
        fs::remove_file(project.root.join(written))?;
    }
    println!("written to {}", sbom.display());
    Ok(())
}
