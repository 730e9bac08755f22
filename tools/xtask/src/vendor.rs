// SPDX-License-Identifier: BSD-2-Clause
//! The crates we build from, as a directory of sources: for builds without a network, and for source packages.

use crate::project::{Project, names_in};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use xshell::cmd;

/// The directory, relative to the root of the sources.
pub(crate) const DIR: &str = "vendor";
/// Debian's and Fedora's machines.
const LINUX: [&str; 7] = ["aarch64", "armv7", "i686", "powerpc64le", "riscv64gc", "s390x", "x86_64"];
/// The settings that make cargo take the crates from there, for `.cargo` or for cargo's home.
pub(crate) const CONFIG: &str = "dist/cargo.toml";

/// Writes every crate that Cargo.lock names to `dir`. Of those that Linux does not need only the manifest is kept,
/// because cargo wants to see them all.
pub(crate) fn vendor(project: &Project, dir: &Path) -> Result<()> {
    let shell = project.shell()?;
    cmd!(shell, "cargo vendor --quiet --locked --versioned-dirs {dir}").quiet().ignore_stdout().run()?;
    // Libraries for Windows that nobody could rebuild, and what Debian's tools take for a left-over and remove.
    cmd!(shell, "find {dir} ( -name *.dll -o -name *.orig ) -delete").quiet().run()?;
    let needed = needed_by_linux(project)?;
    for name in names_in(dir)? {
        let of = dir.join(&name);
        if !needed.contains(&name) {
            hollow(&of)?;
        }
        settle_checksums(&of).with_context(|| format!("the checksums of {name}"))?;
    }
    Ok(())
}

/// `name-version` of each crate.
fn needed_by_linux(project: &Project) -> Result<BTreeSet<String>> {
    let targets = LINUX.map(|machine| {
        let abi = if machine == "armv7" { "gnueabihf" } else { "gnu" };
        format!("--filter-platform={machine}-unknown-linux-{abi}")
    });
    let mut arguments = vec!["--locked"];
    arguments.extend(targets.iter().map(String::as_str));
    let metadata = project.metadata(&arguments)?;
    let packages = metadata.get("packages").and_then(serde_json::Value::as_array).context("no packages")?;
    let text = |package: &serde_json::Value, key| Some(package.get(key)?.as_str()?.to_owned());
    Ok(packages
        .iter()
        .filter_map(|package| Some(format!("{}-{}", text(package, "name")?, text(package, "version")?)))
        .collect())
}

/// Leaves the manifest, an empty library, and what says whose it is.
fn hollow(of: &Path) -> Result<()> {
    for name in names_in(of)? {
        let path = of.join(&name);
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if name != "Cargo.toml" && !name.starts_with('.') && !name.to_lowercase().contains("license") {
            fs::remove_file(&path)?;
        }
    }
    fs::create_dir(of.join("src"))?;
    Ok(fs::write(of.join("src/lib.rs"), "")?)
}

/// Takes the files that are gone from cargo's list.
fn settle_checksums(of: &Path) -> Result<()> {
    let path = of.join(".cargo-checksum.json");
    let mut list: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    let files = list.get_mut("files").and_then(serde_json::Value::as_object_mut).context("no files")?;
    files.retain(|name, _| fs::metadata(of.join(name)).is_ok_and(|file| file.is_file() && file.len() > 0));
    Ok(fs::write(path, list.to_string())?)
}
