// SPDX-License-Identifier: BSD-2-Clause
//! Checks and documents the crates that the project depends on: [`check`] runs cargo-deny, [`write_sbom`] runs
//! cargo-cyclonedx.

use crate::project::Project;
use crate::{compile, needs};
use anyhow::{Context, Result};
use clap::Args;
use std::fs;
use xshell::cmd;

/// What to check.
#[derive(Args)]
pub(crate) struct Options {
    /// Also check for known vulnerabilities; downloads the RustSec advisory database.
    #[arg(long)]
    advisories: bool,
    /// Use the advisory database from an earlier run and download nothing.
    #[arg(long)]
    offline: bool,
}

/// Checks licences, sources, banned crates and, on request, vulnerabilities against `deny.toml`.
pub(crate) fn check(project: &Project, options: &Options) -> Result<()> {
    let deny = needs::cargo_tool(project, "cargo-deny", "0.20.2")?;
    let shell = project.shell()?;
    let offline = options.offline.then_some("--offline");
    let advisories = options.advisories.then_some("advisories");
    cmd!(shell, "{deny} --locked {offline...} check --hide-inclusion-graph bans licenses sources {advisories...}")
        .run()?;
    Ok(())
}

/// Writes a software bill of materials in the CycloneDX format for each library: `target/sbom/libtss2-tcti-foo.cdx.json` and
/// so on. The output depends only on the commit.
pub(crate) fn write_sbom(project: &Project) -> Result<()> {
    let cyclonedx = needs::cargo_tool(project, "cargo-cyclonedx", "0.5.9")?;
    let shell = project.shell()?;
    let date = cmd!(shell, "git log -1 --format=%ct").quiet().read()?;
    let sbom = project.target.join("sbom");
    fs::create_dir_all(&sbom)?;
    // cargo-cyclonedx writes one file next to each manifest of the workspace. A fixed name lets us find and remove them.
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
