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

/// A directory below `cache` with what these packages have below /usr, to lie over the files of a host. It is made when it
/// is not there; what is there is taken without asking for newer packages.
pub fn unpacked(packages: &[&str], cache: &Path) -> Result<PathBuf> {
    let (place, recipe) = (cache.join("programs"), format!("{}\n", packages.join(" ")));
    let is_made = || fs::read_to_string(place.join("recipe")).is_ok_and(|made_of| made_of == recipe);
    if !is_made() {
        fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        // Whoever is interrupted leaves a directory that nobody takes for this one.
        let work = tempfile::Builder::new().prefix(".").tempdir_in(cache)?;
        let (all, ready) = (work.path().join("all"), work.path().join("ready"));
        for package in download(packages, work.path())? {
            output(Command::new("dpkg").arg("--extract").arg(package).arg(&all))?;
        }
        fs::create_dir_all(ready.join("files"))?;
        // Else what a package has in /lib would hide all that the host has there, where that is a link to /usr/lib.
        fs::rename(all.join("usr"), ready.join("files/usr"))?;
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
