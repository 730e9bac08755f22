// SPDX-License-Identifier: BSD-2-Clause
//! Packages as files: ours, and those of tpm2-tss, which stay in apt's cache for the way back. The lists of files are
//! read from the archives, so that wrong names and fields are found.

use crate::machine;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tss2_kit::output;

/// The directory with the packages in C.
const CACHE: &str = "/var/cache/apt/archives";

pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) path: PathBuf,
    source: String,
    files: BTreeSet<String>,
}

impl Package {
    fn read(path: PathBuf) -> Package {
        let format = "--showformat=${Package} ${Version} ${source:Package}";
        let shown = output::succeed(machine::command("dpkg-deb").args(["--show", format]).arg(&path));
        let [name, version, source] = shown.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let script = "dpkg-deb --fsys-tarfile \"$0\" | tar --list";
        let listed = output::succeed(machine::command("sh").args(["-c", script]).arg(&path));
        let files = listed.lines().filter(|file| !file.ends_with('/')).map(str::to_owned).collect();
        Package { name: name.to_owned(), version: version.to_owned(), path, source: source.to_owned(), files }
    }

    /// Whether both packages have a file in common.
    pub(crate) fn conflicts_with(&self, other: &Package) -> bool {
        !self.files.is_disjoint(&other.files)
    }

    /// Returns the packages in C that have a file of this one.
    pub(crate) fn in_c(&self) -> Vec<&'static Package> {
        of_tpm2_tss().iter().filter(|package| self.conflicts_with(package)).collect()
    }
}

/// Returns our packages without those for debugging, in alphabetical order.
pub(crate) fn ours() -> &'static [Package] {
    static OURS: LazyLock<Vec<Package>> = LazyLock::new(|| read("/packages", |name| !name.contains("-dbgsym")));
    &OURS
}

/// Returns the packages that the release builds from tpm2-tss.
pub(crate) fn of_tpm2_tss() -> &'static [Package] {
    static IN_C: LazyLock<Vec<Package>> = LazyLock::new(|| {
        let mut packages = read(CACHE, |name| name.starts_with("libtss2-"));
        packages.retain(|package| package.source == "tpm2-tss");
        packages
    });
    &IN_C
}

/// Returns the names of the packages in C that have a file of ours.
pub(crate) fn in_c() -> BTreeSet<String> {
    ours().iter().flat_map(Package::in_c).map(|package| package.name.clone()).collect()
}

fn read(dir: &str, wanted: impl Fn(&str) -> bool) -> Vec<Package> {
    let is_wanted = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.ends_with(".deb") && wanted(&name)
    };
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| is_wanted(path));
    let mut packages: Vec<Package> = paths.map(Package::read).collect();
    packages.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(!packages.is_empty(), "there is no package in {dir}");
    packages
}
