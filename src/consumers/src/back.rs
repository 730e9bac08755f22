// SPDX-License-Identifier: BSD-2-Clause
//! The way back: apt installs the C modules over ours, and nothing of ours is left.

use crate::{machine, script};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tss2_e2e::output;
use tss2_e2e::suite::Suite;

/// The C modules of Debian 12.
const C_PACKAGES: [&str; 6] = [
    "libtss2-tctildr0",
    "libtss2-tcti-cmd0",
    "libtss2-tcti-device0",
    "libtss2-tcti-mssim0",
    "libtss2-tcti-pcap0",
    "libtss2-tcti-swtpm0",
];

/// In this order.
pub(crate) fn tests(suite: &mut Suite) {
    suite.test("back::apt_restores_the_c_modules", &[], restored);
    suite.test("back::nothing_of_ours_is_left", &[], nothing_left);
    suite.test("back::tpm2_tools_work_on_the_c_modules", &[], tools_work);
}

/// Goes back by the two commands of README.md; gives the files that were ours before.
static FORMER_FILES: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let ours = ours();
    assert!(!ours.is_empty(), "none of our packages was installed");
    let listed = output::succeed(machine::command("dpkg").arg("--listfiles").args(&ours));
    let mut apt = machine::command("apt-get");
    output::succeed(apt.args(["install", "--yes", "--no-install-recommends"]).args(C_PACKAGES));
    output::succeed(machine::command("apt-get").args(["purge", "--yes", "libtss2-.*-rs0"]));
    listed.lines().map(PathBuf::from).collect()
});

fn ours() -> Vec<String> {
    let is_ours = |name: &String| name.starts_with("libtss2-") && (name.ends_with("-rs0") || name.ends_with("-rs-dev"));
    machine::installed().into_iter().map(|(name, _)| name).filter(is_ours).collect()
}

fn restored() {
    LazyLock::force(&FORMER_FILES);
    let installed = machine::installed();
    for package in C_PACKAGES {
        assert!(installed.iter().any(|(name, _)| name == package), "{package} is not installed");
    }
    assert_eq!(output::succeed(machine::command("dpkg").arg("--verify").args(C_PACKAGES)), "");
    output::succeed(machine::command("apt-get").arg("check"));
}

fn nothing_left() {
    let is_there = |file: &&PathBuf| file.symlink_metadata().is_ok_and(|found| !found.is_dir());
    for file in FORMER_FILES.iter().filter(is_there) {
        let owners = output::run(machine::command("dpkg").arg("--search").arg(file));
        assert!(owners.status.success(), "{} is left, and belongs to no package", file.display());
        assert!(!output::stdout(&owners).contains("-rs"), "{}", output::stdout(&owners));
    }
    assert_eq!(ours(), Vec::<String>::new());
    let libraries = Path::new("/usr/lib").join(output::succeed(machine::command("cc").arg("-print-multiarch")).trim());
    for entry in fs::read_dir(libraries).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.exists(), "{} dangles", path.display());
    }
}

fn tools_work() {
    LazyLock::force(&FORMER_FILES);
    let served_by = script::run(include_str!("rows/tpm2-tools.sh"));
    let served_by: Vec<&str> = served_by.iter().map(String::as_str).collect();
    assert_eq!(served_by, ["libtss2-tcti-swtpm0", "libtss2-tctildr0"]);
}
