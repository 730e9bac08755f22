// SPDX-License-Identifier: BSD-2-Clause
//! Debian packages for virtual machines, which are downloaded and unpacked but not installed: [`unpacked`]. Installing some of
//! them would start servers on the host.

use crate::kernel::output;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Downloads packages into a directory with apt-get.
pub(crate) fn download(packages: &[&str], dir: &Path) -> Result<Vec<PathBuf>> {
    // As root, apt-get would switch to a user that cannot write to the directory.
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet", "--option", "APT::Sandbox::User=root", "download"]).args(packages).current_dir(dir);
    output(&mut apt).with_context(|| {
        format!(
            "cannot download {}; is there a network, and are the package lists up to date (apt-get update)?",
            packages.join(" ")
        )
    })?;
    let files = fs::read_dir(dir)
        .with_context(|| format!("cannot list {}", dir.display()))?
        .flatten()
        .map(|entry| entry.path());
    Ok(files.filter(|file| file.extension().is_some_and(|extension| extension == "deb")).collect())
}

/// Directories that are links into /usr on the host. A directory of the same name in the layer would hide the link's target.
const MERGED: [&str; 3] = ["bin", "lib", "sbin"];

/// Returns the packages that apt-get would install: these and those of their dependencies that are not installed. The
/// dependencies differ between releases.
fn to_install(packages: &[&str]) -> Result<Vec<String>> {
    let mut apt = Command::new("apt-get");
    apt.args(["--simulate", "--no-install-recommends", "install"]).args(packages).env("LC_ALL", "C");
    let plan =
        output(&mut apt).with_context(|| format!("cannot determine the dependencies of {}", packages.join(" ")))?;
    Ok(planned(&String::from_utf8_lossy(&plan)))
}

/// Returns the names in lines such as `Inst nginx (1.22.1-9 Debian:12.5/stable [amd64])`.
fn planned(plan: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("Inst ")?.split_whitespace().next().map(str::to_owned);
    plan.lines().filter_map(name).collect()
}

/// Returns a directory that contains the files of these packages and their dependencies, to be mounted on top of the host's
/// files. It is `name/files` in `cache`. It is created if it does not exist or if the list of packages has changed; otherwise it
/// is used without checking for updates.
pub fn unpacked(name: &str, packages: &[&str], cache: &Path) -> Result<PathBuf> {
    let (dir, recipe) = (cache.join(name), packages.join(" "));
    let is_complete = || fs::read_to_string(dir.join("recipe")).is_ok_and(|old| old == recipe);
    if !is_complete() {
        unpack(packages, cache, &dir, &recipe, &is_complete).with_context(|| format!("cannot unpack {recipe}"))?;
    }
    Ok(dir.join("files"))
}

/// Downloads and unpacks packages into `dir`. `is_complete` returns whether another process has done so already.
fn unpack(packages: &[&str], cache: &Path, dir: &Path, recipe: &str, is_complete: &dyn Fn() -> bool) -> Result<()> {
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    // Work in a temporary directory, so that an interruption does not leave an incomplete `dir`.
    let work = tempfile::Builder::new()
        .prefix(".")
        .tempdir_in(cache)
        .with_context(|| format!("cannot write to {}", cache.display()))?;
    let (all, ready) = (work.path().join("all"), work.path().join("ready"));
    let names = to_install(packages)?;
    // If all packages are installed on the host, nothing is unpacked.
    fs::create_dir_all(all.join("usr"))?;
    if !names.is_empty() {
        for package in download(&names.iter().map(String::as_str).collect::<Vec<_>>(), work.path())? {
            output(Command::new("dpkg").arg("--extract").arg(package).arg(&all))?;
        }
    }
    for merged in MERGED.map(|name| all.join(name)).iter().filter(|merged| merged.exists()) {
        output(Command::new("cp").arg("-a").arg(merged).arg(all.join("usr")))?;
        fs::remove_dir_all(merged).with_context(|| format!("cannot remove {}", merged.display()))?;
    }
    fs::create_dir_all(&ready)?;
    fs::rename(&all, ready.join("files")).with_context(|| format!("cannot create {}", ready.display()))?;
    fs::write(ready.join("recipe"), recipe)?;
    if dir.exists() && !is_complete() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    // If this fails, another process may have been faster.
    let renamed = fs::rename(&ready, dir);
    ensure!(is_complete(), "cannot create {}: {renamed:?}", dir.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_lists_new_and_upgraded_packages() {
        let plan = "Reading package lists...\nThe following NEW packages will be installed:\n  a\n\
                    Inst a (1-1 Debian:13/stable [amd64])\nInst b [1] (2 Debian:13/stable [amd64]) []\n\
                    Conf a (1-1 Debian:13/stable [amd64])\n";
        assert_eq!(planned(plan), ["a", "b"]);
    }
}
