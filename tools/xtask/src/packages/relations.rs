// SPDX-License-Identifier: BSD-2-Clause
//! Generates the Provides and Conflicts fields of our packages, which replace packages of C modules with the same files.
//! Names and versions of those differ between releases of Debian, so [`CPackages::of`] queries apt of the release.

use super::deb;
use super::system::System;
use crate::project::Project;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use xshell::Shell;

/// The binary packages of tpm2-tss, as an apt search pattern.
const SOURCE: &str = "?source-package(^tpm2-tss$)";

/// How many stable updates and rebuilds to list in Provides.
const UPDATES: u32 = 9;

/// The packages of tpm2-tss in one release.
#[derive(Debug)]
pub(crate) struct CPackages {
    /// The release's PRETTY_NAME.
    pub(crate) release: String,
    /// The release's VERSION_ID; unreleased suites have none.
    number: Option<String>,
    packages: Vec<CPackage>,
}

#[derive(Debug)]
struct CPackage {
    name: String,
    version: String,
    /// Names without versions.
    provides: Vec<String>,
}

impl CPackages {
    /// Queries apt on a system. Fails if it is not Debian, or if apt has no packages of tpm2-tss.
    pub(crate) fn of(system: &System, shell: &Shell) -> Result<CPackages> {
        let os = system.command(shell, &["cat", "/etc/os-release"])?;
        let os = os.quiet().read().context("cannot read /etc/os-release")?;
        let show = system.command(shell, &["apt-cache", "show", "--no-all-versions", SOURCE])?;
        // apt-cache fails if it finds nothing; `parse` reports that.
        let records = show.quiet().ignore_stderr().ignore_status().read().unwrap_or_default();
        CPackages::parse(&os, &records)
    }

    fn parse(os: &str, records: &str) -> Result<CPackages> {
        let os: BTreeMap<&str, &str> = os
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key, value.trim_matches('"')))
            .collect();
        let release = (*os.get("PRETTY_NAME").unwrap_or(&"this system")).to_owned();
        if os.get("ID") != Some(&"debian") {
            bail!("unknown release: {release}. Packages can be built for releases of Debian only");
        }
        let packages: Vec<CPackage> = records.split("\n\n").filter_map(CPackage::parse).collect();
        ensure!(
            packages.iter().any(|package| package.name.starts_with("libtss2-tctildr0")),
            "unknown release: apt of {release} has no package of the C loader that ours could replace; try `apt-get update`"
        );
        Ok(CPackages { release, number: os.get("VERSION_ID").map(|&id| id.to_owned()), packages })
    }

    /// Returns the packages that contain `lib{name}.so.0`. By Debian policy they are named after it, with an optional suffix
    /// such as t64.
    fn with_library(&self, name: &str) -> impl Iterator<Item = &CPackage> {
        let plain = format!("lib{name}0");
        self.packages
            .iter()
            .filter(move |package| package.name.starts_with(&plain) || package.provides.contains(&plain))
    }

    /// Returns the values of Provides and Conflicts for our package of a library.
    fn relations(&self, name: &str) -> (String, String) {
        let plain = format!("lib{name}0");
        // Always conflict with the plain name: a later release may add a C package, and t64 packages provide the plain name.
        let (mut provided, mut replaced) = (BTreeSet::new(), BTreeSet::from([plain]));
        for package in self.with_library(name) {
            replaced.insert(package.name.clone());
            let versions = versions(&package.version, self.number.as_deref());
            provided.extend(versions.map(|version| format!("{} (= {version})", package.name)));
            provided.extend(package.provides.iter().map(|other| format!("{other} (= {})", package.version)));
        }
        let field = |words: BTreeSet<String>| words.into_iter().collect::<Vec<_>>().join(", ");
        (field(provided), field(replaced))
    }

    /// Returns the version of the C loader's package.
    pub(crate) fn version(&self) -> &str {
        self.with_library("tss2-tctildr").next().map_or("", |package| &package.version)
    }
}

impl CPackage {
    fn parse(record: &str) -> Option<CPackage> {
        let field = |name: &str| record.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let provides = field("Provides").unwrap_or_default().split(", ").filter_map(|word| word.split(' ').next());
        Some(CPackage {
            name: field("Package")?.to_owned(),
            version: field("Version")?.to_owned(),
            provides: provides.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        })
    }
}

/// Returns the version, and the versions that the same package will have after stable updates and rebuilds.
///
/// This is needed because libtss2-dev depends on exactly its own version of each module, and Provides allows no version ranges.
/// Debian numbers stable updates `3.2.1-3+deb12u1` and up, and rebuilds `3.2.1-3+b1` and up.
fn versions(version: &str, release: Option<&str>) -> impl Iterator<Item = String> {
    let without = |version: &str, mark: &str| match version.rsplit_once(mark) {
        Some((before, number)) if number.parse::<u32>().is_ok() => before.to_owned(),
        _ => version.to_owned(),
    };
    let mut marks = vec!["+b".to_owned()];
    marks.extend(release.map(|release| format!("+deb{release}u")));
    let base = marks.iter().fold(version.to_owned(), |version, mark| without(&version, mark));
    let updates = marks.into_iter().flat_map(|mark| (1..=UPDATES).map(move |number| format!("{mark}{number}")));
    let later: BTreeSet<String> = updates.map(|update| format!("{base}{update}")).collect();
    BTreeSet::from([version.to_owned(), base]).into_iter().chain(later).collect::<BTreeSet<_>>().into_iter()
}

/// Appends the fields to the substitution variables of the packages being built in this tree. Called by debian/rules.
pub(crate) fn write(project: &Project) -> Result<()> {
    let packages = CPackages::of(&System::Host, &project.shell()?)?;
    println!("{} has {} packages of tpm2-tss {}", packages.release, packages.packages.len(), packages.version());
    for library in project.libraries()? {
        let (provides, conflicts) = packages.relations(&library.name());
        let path = project.root.join(format!("debian/{}.substvars", deb::package(&library)));
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        write!(file, "tss2:Provides={provides}\ntss2:Conflicts={conflicts}\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKWORM: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
    const TRIXIE: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID=\"13\"\nID=debian\n";
    const SID: &str = "PRETTY_NAME=\"Debian GNU/Linux forky/sid\"\nID=debian\n";

    fn package(name: &str, version: &str) -> String {
        format!("Package: {name}\nSource: tpm2-tss\nVersion: {version}\n\n")
    }

    fn renamed(name: &str, version: &str) -> String {
        format!("Package: {name}t64\nVersion: {version}\nProvides: {name} (= {version})\n\n")
    }

    fn words(field: &str) -> Vec<&str> {
        field.split(", ").collect()
    }

    #[test]
    fn bookworm_packages_have_plain_names() {
        let records = package("libtss2-tctildr0", "3.2.1-3") + &package("libtss2-tcti-device0", "3.2.1-3");
        let bookworm = CPackages::parse(BOOKWORM, &records).unwrap();
        let (provides, conflicts) = bookworm.relations("tss2-tcti-device");
        assert!(words(&provides).contains(&"libtss2-tcti-device0 (= 3.2.1-3)"), "{provides}");
        assert_eq!(conflicts, "libtss2-tcti-device0");
    }

    #[test]
    fn trixie_packages_have_names_with_and_without_t64() {
        let records = renamed("libtss2-tctildr0", "4.1.3-1.2") + &package("libtss2-tcti-spidev0", "4.1.3-1.2");
        let trixie = CPackages::parse(TRIXIE, &records).unwrap();
        let (provides, conflicts) = trixie.relations("tss2-tctildr");
        for name in ["libtss2-tctildr0", "libtss2-tctildr0t64"] {
            assert!(words(&provides).contains(&format!("{name} (= 4.1.3-1.2)").as_str()), "{provides}");
        }
        assert_eq!(conflicts, "libtss2-tctildr0, libtss2-tctildr0t64");
        assert_eq!(trixie.relations("tss2-tcti-spidev").1, "libtss2-tcti-spidev0");
    }

    #[test]
    fn a_module_without_a_c_package_provides_nothing_but_conflicts_with_a_later_one() {
        let trixie = CPackages::parse(TRIXIE, &renamed("libtss2-tctildr0", "4.1.3-1.2")).unwrap();
        assert_eq!(trixie.relations("tss2-tcti-null"), (String::new(), "libtss2-tcti-null0".to_owned()));
    }

    #[test]
    fn dependencies_of_libtss2_dev_are_provided_after_updates() {
        for now in ["3.2.1-3", "3.2.1-3+b1", "3.2.1-3+deb12u1"] {
            let bookworm = CPackages::parse(BOOKWORM, &package("libtss2-tctildr0", now)).unwrap();
            let (provides, _) = bookworm.relations("tss2-tctildr");
            for later in ["3.2.1-3", "3.2.1-3+deb12u1", "3.2.1-3+deb12u2", "3.2.1-3+b2"] {
                let wanted = format!("libtss2-tctildr0 (= {later})");
                assert!(words(&provides).contains(&wanted.as_str()), "{now}: {provides}");
            }
            assert!(!provides.contains("u1+"), "{provides}");
        }
    }

    #[test]
    fn sid_has_rebuilds_but_no_stable_updates() {
        let sid = CPackages::parse(SID, &package("libtss2-tctildr0", "4.2.0-2")).unwrap();
        let (provides, _) = sid.relations("tss2-tctildr");
        assert!(provides.contains("(= 4.2.0-2+b1)") && !provides.contains("deb"), "{provides}");
    }

    #[test]
    fn an_unknown_release_is_rejected_by_name() {
        let ubuntu = "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n";
        let said = CPackages::parse(ubuntu, &renamed("libtss2-tctildr0", "4.0.1-7")).unwrap_err().to_string();
        assert!(said.starts_with("unknown release: Ubuntu 24.04 LTS"), "{said}");
        let said = CPackages::parse(TRIXIE, "").unwrap_err().to_string();
        assert!(
            said.starts_with("unknown release: apt of Debian GNU/Linux 13 (trixie) has no package of the C loader"),
            "{said}"
        );
    }
}
