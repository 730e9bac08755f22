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
    let files = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    Ok(files.filter(|file| file.extension().is_some_and(|extension| extension == "deb")).collect())
}

/// What a host has as links into /usr. A directory of this name would hide all that is behind the link.
const MERGED: [&str; 3] = ["bin", "lib", "sbin"];

/// A directory below `cache` with the files of these packages, to lie over those of a host. It has this name, and is made
/// when it is not there; what is there is taken without asking for newer packages.
pub fn unpacked(name: &str, packages: &[&str], cache: &Path) -> Result<PathBuf> {
    let (place, recipe) = (cache.join(name), format!("{}\n", packages.join(" ")));
    let is_made = || fs::read_to_string(place.join("recipe")).is_ok_and(|made_of| made_of == recipe);
    if !is_made() {
        fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        // Whoever is interrupted leaves a directory that nobody takes for this one.
        let work = tempfile::Builder::new().prefix(".").tempdir_in(cache)?;
        let (all, ready) = (work.path().join("all"), work.path().join("ready"));
        for package in download(packages, work.path())? {
            output(Command::new("dpkg").arg("--extract").arg(package).arg(&all))?;
        }
        fs::create_dir_all(&ready)?;
        for dir in MERGED.iter().filter(|dir| all.join(dir).exists()) {
            let usr = all.join("usr");
            output(Command::new("cp").arg("-a").arg(all.join(dir)).arg(&usr))?;
            fs::remove_dir_all(all.join(dir))?;
        }
        fs::rename(&all, ready.join("files"))?;
        fs::write(ready.join("recipe"), &recipe)?;
        if place.exists() && !is_made() {
            fs::remove_dir_all(&place)?;
        }
        // When it fails, another process was faster.
        let made = fs::rename(&ready, &place);
        ensure!(is_made(), "cannot make {}: {made:?}", place.display());
    }
    Ok(place.join("files"))
}
