// SPDX-License-Identifier: BSD-2-Clause
//! Debian packages in `target/deb`, built from the commit that is checked out and the files in `dist/debian`. The stanzas and
//! files for the libraries are generated here: [`run`].

use super::archive::{self, Release};
use super::copyright;
use super::relations::CPackages;
use super::system::System;
use crate::debian::{Contents, Debian};
use crate::layout::NAME;
use crate::needs;
use crate::project::{Library, Project, names_in};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// Maintainer field; a distribution that ships the packages replaces it.
const MAINTAINER: &str = "The tss2-tcti-rs authors <tss2-tcti-rs@example.org>";

/// Lintian tags that only some releases report. They cannot be overridden in the source package, which is the same for all
/// releases, because lintian also reports unused overrides.
const SUPPRESSED_TAGS: [&str; 8] = [
    // A package with udev rules does not belong in a catalogue of applications.
    "appstream-metadata-missing-modalias-provide",
    // The package contains no C code.
    "hardening-no-fortify-functions",
    // The source package follows the policy, debhelper and dpkg of the oldest release.
    "newer-standards-version",
    "out-of-date-standards-version",
    "package-uses-old-debhelper-compat-version",
    "redundant-priority-optional-field",
    "redundant-rules-requires-root-no-field",
    // The project has no public repository that the file could name.
    "upstream-metadata-file-is-missing",
];

/// The chroot to build in.
const CHROOT: Contents = Contents {
    name: "build",
    packages: &[
        "build-essential",
        "cargo",
        "debhelper",
        "go-md2man",
        "libusb-1.0-0-dev",
        "lintian",
        "pkg-config",
        "rustc",
    ],
    optional: &[],
    downloads: "",
};

/// Which release of Debian to build for.
#[derive(Args)]
pub(crate) struct Options {
    /// Build for this release of Debian in a chroot, and write to target/deb-RELEASE [default: this system].
    #[arg(long)]
    release: Option<String>,
}

/// Builds the source package and the binary packages, and checks them with lintian.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    let system = match &options.release {
        None => System::Host,
        Some(release) => {
            needs::install(project, needs::DEBOOTSTRAP, no_install)?;
            System::Chroot(Debian::of(project, release, CHROOT)?.prepare(project)?)
        }
    };
    // First, because this fails for an unknown release.
    let shell = project.shell()?;
    let c = CPackages::of(&system, &shell)?;
    println!("{} has tpm2-tss {}", c.release, c.version());
    let has_compiler = has_recent_compiler(project, &system, &shell)?;
    if matches!(system, System::Host) {
        let packages = if has_compiler { [needs::DEB, needs::DEB_COMPILER].concat() } else { needs::DEB.to_vec() };
        needs::install(project, &packages, no_install)?;
    }

    let release = Release::of(project)?;
    let dir = directory(project, options.release.as_deref());
    let archives = archive::write(project, &release, &dir)?;
    let tree = dir.join(release.directory());
    shell.change_dir(&dir);
    for archive in [&archives.sources, &archives.crates] {
        let into = if *archive == archives.crates { &tree } else { &dir };
        cmd!(shell, "tar --directory {into} --extract --file {archive}").quiet().run()?;
    }
    write_debian(project, &release, &tree)?;

    // If the release's compiler is too old, use the host's, which no package provides.
    let build = ["sh", "-c", "cd \"$0\" && exec \"$@\"", &release.directory(), "dpkg-buildpackage", "--no-sign"];
    let (build, compiler) = match has_compiler {
        true => (build.to_vec(), None),
        false => ([&build[..], &["--no-check-builddeps"]].concat(), Some(system.compiler(&shell)?)),
    };
    system.build(&shell, &build, compiler.as_deref(), "build.log")?;
    fs::remove_dir_all(&tree)?;

    let changes = names_in(&dir)?
        .into_iter()
        .find(|name| name.ends_with(".changes"))
        .context("dpkg-buildpackage wrote no .changes file")?;
    let lintian = "lintian --display-info --pedantic --fail-on error,warning,info,pedantic --tag-display-limit 0";
    // Lintian fails if it is told to suppress an unknown tag.
    let known = system.command(&shell, &["lintian-explain-tags", "--list-tags"])?.quiet().read()?;
    let known: Vec<&str> = SUPPRESSED_TAGS.into_iter().filter(|tag| known.lines().any(|known| known == *tag)).collect();
    let suppressed = ["--suppress-tags", &known.join(","), &changes];
    let lintian: Vec<&str> = lintian.split(' ').chain(suppressed).collect();
    let clean = system.command(&shell, &lintian)?.quiet().run().is_ok();
    ensure!(clean, "lintian of {} reports problems in the packages", c.release);
    for name in names_in(&dir)?.iter().filter(|name| name.ends_with(".deb")) {
        println!("{}", dir.join(name).display());
    }
    Ok(())
}

/// Returns the directory of the packages for a release; `None` is this system.
pub(crate) fn directory(project: &Project, release: Option<&str>) -> PathBuf {
    project.target.join(release.map_or_else(|| "deb".to_owned(), |release| format!("deb-{release}")))
}

/// Returns whether the system's packaged compiler is recent enough.
fn has_recent_compiler(project: &Project, system: &System, shell: &Shell) -> Result<bool> {
    let wanted = project.workspace_package("rust-version")?;
    let shown = system.command(shell, &["apt-cache", "show", "--no-all-versions", "rustc"])?.quiet().ignore_stderr();
    let shown = shown.ignore_status().read().unwrap_or_default();
    let Some(version) = shown.lines().find_map(|line| line.strip_prefix("Version: ")) else { return Ok(false) };
    Ok(cmd!(shell, "dpkg --compare-versions {version} ge {wanted}").quiet().run().is_ok())
}

/// Returns the name of a library's binary package: `libtss2-tcti-foo-rs0`.
pub(crate) fn package(library: &Library) -> String {
    format!("lib{}-rs0", library.name())
}

/// Writes the directory `debian` in `tree`.
fn write_debian(project: &Project, release: &Release, tree: &Path) -> Result<()> {
    let (from, debian) = (project.root.join("dist/debian"), tree.join("debian"));
    let shell = project.shell()?;
    cmd!(shell, "cp -r {from} {debian}").quiet().run()?;
    let time = format!("@{}", release.time);
    let date = cmd!(shell, "date --utc --rfc-email --date {time}").quiet().read()?;
    let version = &release.version;
    let changelog = format!(
        "{NAME} ({version}-1) unstable; urgency=medium\n\n  * Release {version}; see changelog.gz for the changes.\n\n -- {MAINTAINER}  {date}\n"
    );
    fs::write(debian.join("changelog"), changelog)?;
    fs::write(
        debian.join("copyright"),
        copyright::with_crates(project, &fs::read_to_string(from.join("copyright"))?)?,
    )?;

    let libraries = project.libraries()?;
    let mut control = fs::read_to_string(from.join("control"))?;
    let take = |name: &str| {
        fs::read_to_string(debian.join(name)).and_then(|text| fs::remove_file(debian.join(name)).map(|()| text))
    };
    let template = take("control.library")?;
    let (of_all, of_library) = (take("lintian-overrides")?, take("lintian-overrides.library")?);
    let overrides = |package: &str, text: &str| {
        fs::write(debian.join(format!("{package}.lintian-overrides")), text.replace("@package@", package))
    };
    for package in control.lines().filter_map(|line| line.strip_prefix("Package: ")) {
        overrides(package, &of_all)?;
    }
    for library in &libraries {
        let (package, name) = (package(library), library.name());
        control += &stanza(project, library, &template)?;
        fs::write(debian.join(format!("{package}.install")), format!("usr/lib/*/lib{name}.so.0*\n"))?;
        overrides(&package, &format!("{of_all}{of_library}"))?;
        let exported = library.exports(project)?;
        let symbols: String = exported.iter().map(|symbol| format!(" {symbol}@Base {version}\n")).collect();
        let head = format!("lib{name}.so.0 {package} #MINVER#\n* Build-Depends-Package: libtss2-tcti-rs-dev\n");
        fs::write(debian.join(format!("{package}.symbols")), head + &symbols)?;
    }
    let all: String =
        libraries.iter().map(|library| format!("\n {} (= ${{binary:Version}}),", package(library))).collect();
    let control = control
        .replace("@libraries@,", &all)
        .replace("@maintainer@", MAINTAINER)
        .replace("@rust-version@", &project.workspace_package("rust-version")?);
    Ok(fs::write(debian.join("control"), control)?)
}

/// Returns the stanza of a library's binary package in debian/control.
fn stanza(project: &Project, library: &Library, template: &str) -> Result<String> {
    let metadata = |key: &str| library.metadata(project, key);
    let depends = metadata("debian-depends")?.map(|depends| format!(", {depends}")).unwrap_or_default();
    let mut stanza = template
        .replace("@package@", &package(library))
        .replace("@name@", &library.name())
        .replace("@description@", &library.description(project)?)
        .replace("@depends@", &depends);
    match metadata("debian-recommends")? {
        Some(recommends) => stanza = stanza.replace("@recommends@", &recommends),
        None => stanza = stanza.replace("Recommends: @recommends@\n", ""),
    }
    Ok(stanza)
}
