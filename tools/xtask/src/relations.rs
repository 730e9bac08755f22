// SPDX-License-Identifier: BSD-2-Clause
//! What a package of ours says of the C packages that have the same files. Their names and versions differ from one
//! release of Debian to the next: apt of the release is asked, by [`CPackages::of`], and no list is kept.

use crate::deb;
use crate::place::Place;
use crate::project::Project;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use xshell::Shell;

/// The source package of the C modules.
const SOURCE: &str = "?source-package(^tpm2-tss$)";

/// How many updates of a release are provided for.
const UPDATES: u32 = 9;

/// The packages of tpm2-tss in one release.
#[derive(Debug)]
pub(crate) struct CPackages {
    /// As the release calls itself.
    pub(crate) release: String,
    /// Its number. A release that is still made has none.
    number: Option<String>,
    packages: Vec<CPackage>,
}

#[derive(Debug)]
struct CPackage {
    name: String,
    version: String,
    /// Names, without their versions.
    provides: Vec<String>,
}

impl CPackages {
    /// Fails in a release that is not Debian's, and where apt knows no package of tpm2-tss.
    pub(crate) fn of(place: &Place, shell: &Shell) -> Result<CPackages> {
        let os = place.command(shell, &["cat", "/etc/os-release"])?.quiet().read().context("no /etc/os-release")?;
        let show = place.command(shell, &["apt-cache", "show", "--no-all-versions", SOURCE])?;
        // Fails when it finds nothing, which is told from an empty list.
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
            bail!("unknown release: {release}. The packages are made for the releases of Debian");
        }
        let packages: Vec<CPackage> = records.split("\n\n").filter_map(CPackage::parse).collect();
        ensure!(
            packages.iter().any(|package| package.name.starts_with("libtss2-tctildr0")),
            "unknown release: apt of {release} knows no C loader whose place ours could take. Does `apt-get update` help?"
        );
        Ok(CPackages { release, number: os.get("VERSION_ID").map(|&id| id.to_owned()), packages })
    }

    /// Those with the file `lib{name}.so.0`: by Debian's rule they are named after it, and may have a suffix such as t64.
    fn with_library(&self, name: &str) -> impl Iterator<Item = &CPackage> {
        let plain = format!("lib{name}0");
        self.packages
            .iter()
            .filter(move |package| package.name.starts_with(&plain) || package.provides.contains(&plain))
    }

    /// What takes the place of a library, in the form of Debian's fields: what to provide, what to conflict with.
    fn relations(&self, name: &str) -> (String, String) {
        let plain = format!("lib{name}0");
        // The plain name always: a later release may have a C package where this one has none, and t64 packages provide it.
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

    /// The version that the loader in C has.
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

/// The version, and those that the same package has after a security update or a rebuild.
///
/// libtss2-dev depends on exactly its own version of each module, and dpkg knows no range in Provides. What does not change
/// is Debian's way to number: stable updates are `3.2.1-3+deb12u1` and up, rebuilds `3.2.1-3+b1` and up.
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

/// Adds them to the variables of the packages that are built in the current tree: called by debian/rules.
pub(crate) fn write(project: &Project) -> Result<()> {
    let packages = CPackages::of(&Place::Here, &project.shell()?)?;
    println!("{} has {} of tpm2-tss {}", packages.release, packages.packages.len(), packages.version());
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
    fn bookworm_has_the_plain_names() {
        let records = package("libtss2-tctildr0", "3.2.1-3") + &package("libtss2-tcti-device0", "3.2.1-3");
        let bookworm = CPackages::parse(BOOKWORM, &records).unwrap();
        let (provides, conflicts) = bookworm.relations("tss2-tcti-device");
        assert!(words(&provides).contains(&"libtss2-tcti-device0 (= 3.2.1-3)"), "{provides}");
        assert_eq!(conflicts, "libtss2-tcti-device0");
    }

    #[test]
    fn trixie_has_the_names_with_t64_and_without() {
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
    fn a_module_that_the_release_has_not_in_c_provides_nothing_but_yields_to_a_later_one() {
        let trixie = CPackages::parse(TRIXIE, &renamed("libtss2-tctildr0", "4.1.3-1.2")).unwrap();
        assert_eq!(trixie.relations("tss2-tcti-null"), (String::new(), "libtss2-tcti-null0".to_owned()));
    }

    #[test]
    fn what_libtss2_dev_asks_for_is_provided_after_updates_as_well() {
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
    fn sid_is_rebuilt_and_has_no_stable_updates() {
        let sid = CPackages::parse(SID, &package("libtss2-tctildr0", "4.2.0-2")).unwrap();
        let (provides, _) = sid.relations("tss2-tctildr");
        assert!(provides.contains("(= 4.2.0-2+b1)") && !provides.contains("deb"), "{provides}");
    }

    #[test]
    fn an_unknown_release_is_named_and_refused() {
        let ubuntu = "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n";
        let said = CPackages::parse(ubuntu, &renamed("libtss2-tctildr0", "4.0.1-7")).unwrap_err().to_string();
        assert!(said.starts_with("unknown release: Ubuntu 24.04 LTS"), "{said}");
        let said = CPackages::parse(TRIXIE, "").unwrap_err().to_string();
        assert!(said.starts_with("unknown release: apt of Debian GNU/Linux 13 (trixie) knows no C loader"), "{said}");
    }
}
