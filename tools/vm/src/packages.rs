// SPDX-License-Identifier: BSD-2-Clause
//! Debian packages that are downloaded and unpacked, but never installed: [`unpacked`]. They are wanted in a machine alone,
//! and some would start servers on the host.

use crate::kernel::output;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Downloads packages into a directory, as apt-get does for everybody.
pub(crate) fn download(packages: &[&str], dir: &Path) -> Result<Vec<PathBuf>> {
    // As root, apt-get would change to a user that may not write here.
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet", "--option", "APT::Sandbox::User=root", "download"]).args(packages).current_dir(dir);
    output(&mut apt).with_context(|| {
        format!(
            "cannot download {}; is there a network, and is the list of packages new (apt-get update)?",
            packages.join(" ")
        )
    })?;
    let files = fs::read_dir(dir)
        .with_context(|| format!("cannot list {}", dir.display()))?
        .flatten()
        .map(|entry| entry.path());
    Ok(files.filter(|file| file.extension().is_some_and(|extension| extension == "deb")).collect())
}

/// What a host has as links into /usr. A directory of this name would hide all that is behind the link.
const MERGED: [&str; 3] = ["bin", "lib", "sbin"];

/// What apt-get would install here to have these: they and what they depend on, unless it is here. Which packages that are
/// differs from release to release.
fn to_install(packages: &[&str]) -> Result<Vec<String>> {
    let mut apt = Command::new("apt-get");
    apt.args(["--simulate", "--no-install-recommends", "install"]).args(packages).env("LC_ALL", "C");
    let plan = output(&mut apt).with_context(|| format!("cannot ask apt-get what {} need", packages.join(" ")))?;
    Ok(planned(&String::from_utf8_lossy(&plan)))
}

/// The names in lines such as `Inst nginx (1.22.1-9 Debian:12.5/stable [amd64])`.
fn planned(plan: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("Inst ")?.split_whitespace().next().map(str::to_owned);
    plan.lines().filter_map(name).collect()
}

/// A directory below `cache` with the files of these packages and of those that they need, to lie over those of a host. It has
/// this name, and is made when it is not there; what is there is taken without asking for newer packages.
pub fn unpacked(name: &str, packages: &[&str], cache: &Path) -> Result<PathBuf> {
    let (place, recipe) = (cache.join(name), packages.join(" "));
    let is_made = || fs::read_to_string(place.join("recipe")).is_ok_and(|made_of| made_of == recipe);
    if !is_made() {
        make(packages, cache, &place, &recipe, &is_made).with_context(|| format!("cannot unpack {recipe}"))?;
    }
    Ok(place.join("files"))
}

fn make(packages: &[&str], cache: &Path, place: &Path, recipe: &str, is_made: &dyn Fn() -> bool) -> Result<()> {
    fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    // Whoever is interrupted leaves a directory that nobody takes for this one.
    let work = tempfile::Builder::new()
        .prefix(".")
        .tempdir_in(cache)
        .with_context(|| format!("cannot write to {}", cache.display()))?;
    let (all, ready) = (work.path().join("all"), work.path().join("ready"));
    let names = to_install(packages)?;
    // Where all are installed, none is left.
    fs::create_dir_all(all.join("usr"))?;
    if !names.is_empty() {
        for package in download(&names.iter().map(String::as_str).collect::<Vec<_>>(), work.path())? {
            output(Command::new("dpkg").arg("--extract").arg(package).arg(&all))?;
        }
    }
    for dir in MERGED.map(|dir| all.join(dir)).iter().filter(|dir| dir.exists()) {
        output(Command::new("cp").arg("-a").arg(dir).arg(all.join("usr")))?;
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(&ready)?;
    fs::rename(&all, ready.join("files")).with_context(|| format!("cannot make {}", ready.display()))?;
    fs::write(ready.join("recipe"), recipe)?;
    if place.exists() && !is_made() {
        fs::remove_dir_all(place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    // When it fails, another process was faster.
    let made = fs::rename(&ready, place);
    ensure!(is_made(), "cannot make {}: {made:?}", place.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_what_is_new_and_what_is_upgraded() {
        let plan = "Reading package lists...\nThe following NEW packages will be installed:\n  a\n\
                    Inst a (1-1 Debian:13/stable [amd64])\nInst b [1] (2 Debian:13/stable [amd64]) []\n\
                    Conf a (1-1 Debian:13/stable [amd64])\n";
        assert_eq!(planned(plan), ["a", "b"]);
    }
}
