// SPDX-License-Identifier: BSD-2-Clause
//! The effect of apt installing our packages together with all programs that use TCTI modules: each package alone and
//! the way back, all at once, and then an update of the packages in C.

use crate::machine::{self, Installed};
use crate::package::{self, Package};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use tss2_kit::output;
use tss2_kit::suite::Suite;

/// The directory with the packages of the update.
const UPDATES: &str = "/updates";

/// Tests that run before any of our packages is installed.
pub(crate) fn tests_alone(suite: &mut Suite) {
    for ours in package::ours() {
        suite.test(format!("alone::{}", ours.name), &[], || alone(ours));
    }
}

/// Tests that run with all of our packages.
pub(crate) fn tests(suite: &mut Suite) {
    suite.test("install::removes_only_c_modules", &[], || {
        all();
    });
    suite.test("install::each_c_package_with_a_file_of_ours_is_replaced", &[], replaced);
}

/// Tests that update the packages in C.
pub(crate) fn tests_update(suite: &mut Suite) {
    suite.test("update::of_the_c_packages_keeps_ours", &[], updated);
}

/// Installs all of our packages. Returns the installed packages before and after.
pub(crate) fn all() -> &'static (Installed, Installed) {
    static ALL: LazyLock<(Installed, Installed)> = LazyLock::new(|| {
        let before = machine::installed();
        apt(&["install"], package::ours());
        let after = machine::installed();
        let may_go = package::in_c();
        check(&before, &after, &may_go);
        (before, after)
    });
    &ALL
}

/// Checks that apt removed only the packages in `may_go`, and all of them, changed no version, and left nothing
/// half-installed.
fn check(before: &Installed, after: &Installed, may_go: &BTreeSet<String>) {
    let gone: Vec<&String> = before.keys().filter(|name| !after.contains_key(*name)).collect();
    assert!(gone.iter().all(|name| may_go.contains(*name)), "apt removed {gone:?}");
    for name in may_go {
        assert!(!after.contains_key(name), "{name} is still installed, with the same file");
    }
    let changed: Vec<_> =
        before.iter().filter(|(name, version)| after.get(*name).is_some_and(|now| now != *version)).collect();
    assert!(changed.is_empty(), "apt changed {changed:?}");
    output::succeed(machine::command("apt-get").arg("check"));
    assert_eq!(output::succeed(machine::command("dpkg").arg("--audit")), "");
}

fn apt(words: &[&str], packages: &[Package]) {
    let files = packages.iter().map(|package| &package.path);
    let mut apt = machine::command("apt-get");
    output::succeed(apt.args(["--yes", "--no-install-recommends"]).args(words).args(files));
}

fn alone(ours: &'static Package) {
    let before = machine::installed();
    let needs_libraries = ours.name.ends_with("-dev");
    let with: Vec<&Package> =
        package::ours().iter().filter(|other| needs_libraries && other.name.ends_with("-rs0")).collect();
    let files = with.iter().copied().chain([ours]).map(|package| &package.path);
    let mut install = machine::command("apt-get");
    output::succeed(install.args(["--yes", "--no-install-recommends", "install"]).args(files));
    let may_go = with.iter().copied().chain([ours]).flat_map(Package::in_c).map(|package| package.name.clone());
    check(&before, &machine::installed(), &may_go.collect());

    let back = ours.in_c().into_iter().chain(with.iter().flat_map(|package| package.in_c()));
    let back = back.filter(|package| before.contains_key(&package.name)).map(|package| format!("{}+", package.name));
    let mut purge = machine::command("apt-get");
    purge
        .args(["--yes", "--no-install-recommends", "purge", &ours.name])
        .args(with.iter().map(|package| &package.name));
    output::succeed(purge.args(back));
    assert_eq!(machine::installed(), before);
}

fn replaced() {
    for ours in package::ours() {
        for field in ["Conflicts", "Replaces"] {
            let named = output::succeed(machine::command("dpkg-deb").arg("--field").arg(&ours.path).arg(field));
            let named: BTreeSet<&str> = named.trim().split(", ").collect();
            for in_c in ours.in_c() {
                assert!(named.contains(in_c.name.as_str()), "{} lacks {field}: {}", ours.name, in_c.name);
            }
        }
    }
}

/// Returns the version of a stable update, or of a rebuild if the release has no number.
fn next_version(version: &str) -> String {
    let os = fs::read_to_string("/etc/os-release").unwrap();
    match os.lines().find_map(|line| line.strip_prefix("VERSION_ID=")) {
        Some(number) => format!("{version}+deb{}u1", number.trim_matches('"')),
        None => format!("{version}+b1"),
    }
}

fn updated() {
    let (_, before) = all();
    fs::create_dir_all(UPDATES).unwrap();
    let mut index = String::new();
    for package in package::of_tpm2_tss() {
        index += &rebuild(package);
    }
    fs::write(Path::new(UPDATES).join("Packages"), index).unwrap();
    fs::write("/etc/apt/sources.list.d/updates.list", format!("deb [trusted=yes] file:{UPDATES} ./\n")).unwrap();
    // Other mirrors are not used, so that the machine needs no network.
    let only =
        ["Dir::Etc::sourcelist=sources.list.d/updates.list", "Dir::Etc::sourceparts=-", "APT::Get::List-Cleanup=0"];
    let only = only.iter().flat_map(|setting| ["-o", setting]).collect::<Vec<_>>();
    output::succeed(machine::command("apt-get").args(&only).arg("update"));
    output::succeed(machine::command("apt-get").args(&only).args(["--yes", "dist-upgrade"]));

    let after = machine::installed();
    let updated: BTreeSet<&String> = package::of_tpm2_tss().iter().map(|package| &package.name).collect();
    for (name, version) in before {
        let now = after.get(name).map_or("nothing: the update removed it", String::as_str);
        let expected = if updated.contains(name) { next_version(version) } else { version.clone() };
        assert_eq!(now, expected, "{name}");
    }
    assert_eq!(after.len(), before.len());
}

/// Builds the next version of a package. Returns its entry for the list of packages.
fn rebuild(package: &Package) -> String {
    let (old, new) = (&package.version, next_version(&package.version));
    // A full stop in the old version matches any character in sed, which does no harm.
    let script = "set -eu; cd \"$0\"; rm -rf tree; dpkg-deb --raw-extract \"$1\" tree; \
                  sed -i \"s/^Version: .*/Version: $2/; s/= $3)/= $2)/g\" tree/DEBIAN/control; \
                  dpkg-deb -Znone --build tree \"$4\" >&2; rm -r tree; dpkg-deb --field \"$4\"; \
                  echo \"Filename: ./$4\"; echo \"Size: $(stat -c %s \"$4\")\"; \
                  echo \"SHA256: $(sha256sum \"$4\" | cut -d' ' -f1)\"; echo";
    let name = format!("{}.deb", package.name);
    let mut shell = machine::command("sh");
    output::succeed(shell.args(["-c", script, UPDATES]).arg(&package.path).args([&new, old, &name]))
}
