// SPDX-License-Identifier: BSD-2-Clause
//! Reproducible release builds: the compiled libraries contain no path of the build machine. [`release`] runs cargo.

use crate::project::Project;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use xshell::cmd;

/// Prefix that replaces the directory of third-party crates in panic messages and debugging information.
const CRATES: &str = "/crates";
/// Prefix that replaces the root of this project, also in bills of materials. Log lines are not affected: they print paths
/// relative to the root, such as `src/...`.
pub(crate) const OURS: &str = "/tss2-tcti-rs";

/// Builds packages with the release profile and returns the output directory. Applies RUSTFLAGS from the environment, but
/// not from cargo's configuration, because that belongs to the machine.
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
    // If several prefixes match, the compiler uses the last one.
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

/// Returns the directories that contain third-party crates: a registry's sources, or `vendor`.
fn crates(project: &Project) -> Result<BTreeSet<PathBuf>> {
    let metadata = project.metadata(&["--locked"])?;
    let packages =
        metadata.get("packages").and_then(serde_json::Value::as_array).context("cargo metadata lists no packages")?;
    let foreign = packages.iter().filter(|package| package.get("source").is_some_and(|source| !source.is_null()));
    let manifests = foreign.filter_map(|package| package.get("manifest_path")?.as_str()).map(PathBuf::from);
    Ok(manifests.filter_map(|manifest| Some(manifest.parent()?.parent()?.to_owned())).collect())
}

/// Returns the directory of the standard library's sources, which may not be installed, and the commit of the compiler. The
/// compiler uses `/rustc/COMMIT` in paths if the sources are not installed.
fn standard_library(project: &Project) -> Result<(PathBuf, String)> {
    let shell = project.shell()?;
    let sysroot = cmd!(shell, "rustc --print sysroot").quiet().read()?;
    let version = cmd!(shell, "rustc --verbose --version").quiet().read()?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown");
    Ok((PathBuf::from(sysroot).join("lib/rustlib/src/rust"), commit.to_owned()))
}
