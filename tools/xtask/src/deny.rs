// SPDX-License-Identifier: BSD-2-Clause
//! What we depend on, held against `deny.toml`: licences, sources, banned crates and, if asked for, vulnerabilities.

use crate::project::Project;
use crate::tool;
use anyhow::Result;
use clap::Args;
use xshell::cmd;

/// What to look at.
#[derive(Args)]
pub(crate) struct Options {
    /// Also known vulnerabilities, by the database of RustSec, which is fetched from its repository.
    #[arg(long)]
    advisories: bool,
    /// Fetch nothing: take the database as an earlier run left it.
    #[arg(long)]
    offline: bool,
}

/// Fails when something is not allowed.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let deny = tool::install(project, "cargo-deny", "0.20.2")?;
    let shell = project.shell()?;
    let offline = options.offline.then_some("--offline");
    let advisories = options.advisories.then_some("advisories");
    cmd!(shell, "{deny} --locked {offline...} check --hide-inclusion-graph bans licenses sources {advisories...}")
        .run()?;
    Ok(())
}
