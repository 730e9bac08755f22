// SPDX-License-Identifier: BSD-2-Clause
//! An upgrade of a system with our packages to the next release of Debian. `TSS2_NEXT_SOURCES` has the sources of this
//! release for apt; with it these tests are the only ones. `TSS2_NEXT_PACKAGES` names the directory with our packages
//! for that release. The upgrade needs a network, and keeps the downloads of apt in /build.

use crate::machine;
use crate::{install, script};
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tss2_kit::output;
use tss2_kit::suite::Suite;

/// The directory with our packages for the next release.
const NEXT: &str = "/next";
/// The same as a repository for apt.
const REPOSITORY: &str = "/repository";
const SOURCES: &str = "TSS2_NEXT_SOURCES";
/// Packages that have to be upgraded.
const PROGRAMS: [&str; 5] = ["libtpm2-pkcs11-1", "libtss2-dev", "systemd", "tpm2-openssl", "tpm2-tools"];

/// Whether an upgrade was requested.
pub(crate) fn is_requested() -> bool {
    env::var_os(SOURCES).is_some()
}

/// The tests run in this order.
pub(crate) fn tests(suite: &mut Suite) {
    suite.test("upgrade::has_our_packages_of_the_next_release", &[], complete);
    suite.test("upgrade::tpm2_tools_work_on_ours", &[], tools_work);
}

fn packages() -> Vec<PathBuf> {
    let is_package = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "deb");
    fs::read_dir(NEXT).unwrap().map(|entry| entry.unwrap().path()).filter(is_package).collect()
}

static UPGRADED: LazyLock<()> = LazyLock::new(|| {
    install::all();
    let mut sources = env::var(SOURCES).unwrap();
    fs::create_dir(REPOSITORY).unwrap();
    let mut index = String::new();
    for package in packages() {
        let name = package.file_name().unwrap_or_default();
        symlink(&package, Path::new(REPOSITORY).join(name)).unwrap();
        let script = "set -eu; dpkg-deb --field \"$0\"; echo \"Filename: ./${0##*/}\"; echo \"Size: $(stat -c %s \"$0\")\"; \
                      echo \"SHA256: $(sha256sum \"$0\" | cut -d' ' -f1)\"; echo";
        index += &output::succeed(machine::command("sh").args(["-c", script]).arg(&package));
    }
    fs::write(Path::new(REPOSITORY).join("Packages"), index).unwrap();
    sources += &format!("deb [trusted=yes] file:{REPOSITORY} ./\n");
    fs::write("/etc/apt/sources.list", sources).unwrap();
    fs::create_dir_all("/build/apt/partial").unwrap();
    for words in [&["update"][..], &["--option", "Dpkg::Options::=--force-confold", "dist-upgrade"]] {
        let mut apt = machine::command("apt-get");
        apt.args(["--yes", "--no-install-recommends", "--option", "Dir::Cache::archives=/build/apt"]);
        output::succeed(apt.args(words));
    }
});

fn complete() {
    LazyLock::force(&UPGRADED);
    let (_, before) = install::all();
    let after = machine::installed();
    for program in PROGRAMS {
        assert!(after.get(program).is_some_and(|version| before.get(program) != Some(version)), "{program} is not new");
    }
    output::succeed(machine::command("apt-get").arg("check"));
    assert_eq!(output::succeed(machine::command("dpkg").arg("--audit")), "");
    for name in before.keys().filter(|name| name.starts_with("libtss2-") && name.contains("-rs")) {
        assert!(after.get(name).is_some_and(|version| before.get(name) != Some(version)), "{name} is not new");
    }
}

fn tools_work() {
    LazyLock::force(&UPGRADED);
    let served_by = script::run(include_str!("rows/tpm2-tools.sh"));
    assert_eq!(served_by.iter().collect::<Vec<_>>(), ["libtss2-tcti-swtpm-rs0", "libtss2-tctildr-rs0"]);
}
