// SPDX-License-Identifier: BSD-2-Clause
//! Vendors the crates that the project is built from, for builds without a network and for source packages: [`vendor`].

use crate::project::{Project, names_in};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use xshell::cmd;

/// Directory of the vendored crates, relative to the root of the sources.
pub(crate) const DIR: &str = "vendor";
/// Architectures of Debian and Fedora, as in Rust's target triples.
const ARCHITECTURES: [&str; 7] = ["aarch64", "armv7", "i686", "powerpc64le", "riscv64gc", "s390x", "x86_64"];
/// Cargo settings that replace crates.io with the vendored crates; to be copied to `.cargo` or to cargo's home directory.
pub(crate) const CONFIG: &str = "dist/cargo.toml";

/// Writes all crates that Cargo.lock lists to `dir`. Crates that Linux does not need are reduced to their manifest, because
/// cargo requires all of them to be present.
pub(crate) fn vendor(project: &Project, dir: &Path) -> Result<()> {
    let shell = project.shell()?;
    cmd!(shell, "cargo vendor --quiet --locked --versioned-dirs {dir}").quiet().ignore_stdout().run()?;
    // Binary libraries for Windows cannot be rebuilt from source. Debian's tools delete *.orig files as leftovers.
    cmd!(shell, "find {dir} ( -name *.dll -o -name *.orig ) -delete").quiet().run()?;
    let needed = needed_by_linux(project)?;
    for name in names_in(dir)? {
        let of = dir.join(&name);
        if !needed.contains(&name) {
            strip(&of)?;
        }
        update_checksums(&of).with_context(|| format!("cannot update the checksums of {name}"))?;
    }
    Ok(())
}

/// Returns `name-version` of each crate that a Linux build needs.
fn needed_by_linux(project: &Project) -> Result<BTreeSet<String>> {
    let targets = ARCHITECTURES.map(|machine| {
        let abi = if machine == "armv7" { "gnueabihf" } else { "gnu" };
        format!("--filter-platform={machine}-unknown-linux-{abi}")
    });
    let mut arguments = vec!["--locked"];
    arguments.extend(targets.iter().map(String::as_str));
    let metadata = project.metadata(&arguments)?;
    let packages =
        metadata.get("packages").and_then(serde_json::Value::as_array).context("cargo metadata lists no packages")?;
    let text = |package: &serde_json::Value, key| Some(package.get(key)?.as_str()?.to_owned());
    Ok(packages
        .iter()
        .filter_map(|package| Some(format!("{}-{}", text(package, "name")?, text(package, "version")?)))
        .collect())
}

/// Reduces a crate to its manifest, its licence files and an empty library.
fn strip(of: &Path) -> Result<()> {
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

/// Removes deleted files from cargo's list of checksums.
fn update_checksums(of: &Path) -> Result<()> {
    let path = of.join(".cargo-checksum.json");
    let mut list: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    let files = list
        .get_mut("files")
        .and_then(serde_json::Value::as_object_mut)
        .context("the list of checksums has no files")?;
    files.retain(|name, _| fs::metadata(of.join(name)).is_ok_and(|file| file.is_file() && file.len() > 0));
    Ok(fs::write(path, list.to_string())?)
}
