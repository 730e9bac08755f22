// SPDX-License-Identifier: BSD-2-Clause
//! The way back: apt installs the C modules in place of ours, and none of our files is left.

use crate::{install, machine, package, script};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tss2_kit::output;
use tss2_kit::suite::Suite;

/// The first command of docs/packages.md, after apt-get. It names the packages that the release builds from tpm2-tss, except
/// the modules for chips of FTDI, which have no counterpart here.
const INSTALL: [&str; 2] = ["install", "?and(?source-package(^tpm2-tss$), ?name(^libtss2-tct.*[^i]0))"];
/// The second command.
const PURGE: [&str; 2] = ["purge", "^(lib)?tss2-.*-(rs0|rs-dev|rs-doc|udev|initramfs)$"];

/// The tests run in this order.
pub(crate) fn tests(suite: &mut Suite) {
    suite.test("back::apt_restores_the_c_modules", &[], restored);
    suite.test("back::nothing_of_ours_is_left", &[], nothing_left);
    suite.test("back::tpm2_tools_work_on_the_c_modules", &[], tools_work);
}

/// Runs the two commands of docs/packages.md. Returns the files that were ours before.
static FORMER_FILES: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let ours = ours();
    assert!(!ours.is_empty(), "none of our packages was installed");
    let listed = output::succeed(machine::command("dpkg").arg("--listfiles").args(&ours));
    for words in [INSTALL, PURGE] {
        output::succeed(machine::command("apt-get").args(["--yes", "--no-install-recommends"]).args(words));
    }
    listed.lines().map(PathBuf::from).collect()
});

fn ours() -> Vec<String> {
    let installed = machine::installed();
    package::ours().iter().map(|package| &package.name).filter(|name| installed.contains_key(*name)).cloned().collect()
}

/// Returns the packages in C that were installed in the beginning.
fn former() -> Vec<&'static String> {
    let (before, _) = install::all();
    before.keys().filter(|name| package::in_c().contains(*name)).collect()
}

fn restored() {
    LazyLock::force(&FORMER_FILES);
    let installed = machine::installed();
    for package in former() {
        assert!(installed.contains_key(package), "{package} is not installed");
    }
    assert_eq!(output::succeed(machine::command("dpkg").arg("--verify").args(former())), "");
    output::succeed(machine::command("apt-get").arg("check"));
}

fn nothing_left() {
    let is_there = |file: &&PathBuf| file.symlink_metadata().is_ok_and(|found| !found.is_dir());
    for file in FORMER_FILES.iter().filter(is_there) {
        let owners = output::run(machine::command("dpkg").arg("--search").arg(file));
        assert!(owners.status.success(), "{} is left and belongs to no package", file.display());
        assert!(!output::stdout(&owners).contains("-rs"), "{}", output::stdout(&owners));
    }
    assert_eq!(ours(), Vec::<String>::new());
    let libraries = Path::new("/usr/lib").join(output::succeed(machine::command("cc").arg("-print-multiarch")).trim());
    for entry in fs::read_dir(libraries).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.exists(), "{} is a dangling link", path.display());
    }
}

fn tools_work() {
    LazyLock::force(&FORMER_FILES);
    let served_by = script::run(include_str!("rows/tpm2-tools.sh"));
    let former: BTreeSet<String> = former().into_iter().cloned().collect();
    assert!(served_by.len() == 2 && served_by.is_subset(&former), "{served_by:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_the_same_commands() {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/packages.md");
        let guide = fs::read_to_string(guide).unwrap();
        for [command, names] in [INSTALL, PURGE] {
            let line = format!("$ sudo apt-get {command} '{names}'");
            assert!(guide.lines().any(|found| found == line), "docs/packages.md lacks: {line}");
        }
    }
}
