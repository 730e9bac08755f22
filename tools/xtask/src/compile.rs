// SPDX-License-Identifier: BSD-2-Clause
//! Compiling for release, the same bytes wherever it is done: no library holds a path of this machine.

use crate::project::Project;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use xshell::cmd;

/// What every path of a crate that is not ours begins with, in a message or in debugging information.
const CRATES: &str = "/crates";
/// The same for our own sources, and in a bill of materials. Log lines name those relative to the root, `src/...`, whatever this is.
pub(crate) const OURS: &str = "/tss2-tcti-rs";

/// Builds these packages with the release profile; gives the directory of what was built. RUSTFLAGS of the environment
/// count, those of cargo's configuration do not: they belong to the machine.
pub(crate) fn release<'a>(project: &Project, packages: impl IntoIterator<Item = &'a str>) -> Result<PathBuf> {
    let shell = project.shell()?;
    let packages = packages.into_iter().flat_map(|package| ["--package", package]);
    let target = &project.target;
    let build = cmd!(shell, "cargo build --quiet --release --locked --target-dir {target} {packages...}");
    build.env("CARGO_ENCODED_RUSTFLAGS", flags(project)?.join("\x1f")).quiet().run()?;
    Ok(project.target.join("release"))
}

fn flags(project: &Project) -> Result<Vec<String>> {
    let mut flags: Vec<String> = match (env::var("CARGO_ENCODED_RUSTFLAGS"), env::var("RUSTFLAGS")) {
        (Ok(flags), _) if !flags.is_empty() => flags.split('\x1f').map(str::to_owned).collect(),
        (_, Ok(flags)) => flags.split_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    // Of several that match, the compiler takes the last.
    let mut remap = |from: PathBuf, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    remap(project.root.clone(), OURS);
    remap(project.target.clone(), OURS);
    for dir in crates(project)? {
        remap(dir, CRATES);
    }
    let (library, commit) = standard_library(project)?;
    remap(library, &format!("/rustc/{commit}"));
    Ok(flags)
}

/// The directories of the crates we build from: a registry's, or `vendor`.
fn crates(project: &Project) -> Result<BTreeSet<PathBuf>> {
    let metadata = project.metadata(&["--locked"])?;
    let packages = metadata.get("packages").and_then(serde_json::Value::as_array).context("no packages")?;
    let foreign = packages.iter().filter(|package| package.get("source").is_some_and(|source| !source.is_null()));
    let manifests = foreign.filter_map(|package| package.get("manifest_path")?.as_str()).map(PathBuf::from);
    Ok(manifests.filter_map(|manifest| Some(manifest.parent()?.parent()?.to_owned())).collect())
}

/// Where the source of the standard library would be, if it is installed, and what the compiler calls that place if it
/// is not.
fn standard_library(project: &Project) -> Result<(PathBuf, String)> {
    let shell = project.shell()?;
    let sysroot = cmd!(shell, "rustc --print sysroot").quiet().read()?;
    let version = cmd!(shell, "rustc --verbose --version").quiet().read()?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown");
    Ok((PathBuf::from(sysroot).join("lib/rustlib/src/rust"), commit.to_owned()))
}
