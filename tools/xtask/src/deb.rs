// SPDX-License-Identifier: BSD-2-Clause
//! Debian packages in `target/deb`, from the commit that is checked out. What `dist/debian` has is used as it is, but
//! for what follows from the libraries; that is written here.

use crate::archive::{self, Release};
use crate::debian::{Debian, Purpose};
use crate::layout::NAME;
use crate::place::Place;
use crate::project::{Library, Project, names_in};
use crate::relations::CPackages;
use crate::{copyright, needs, packager};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// A distribution puts its own here.
const MAINTAINER: &str = "The tss2-tcti-rs authors <tss2-tcti-rs@example.org>";

/// What lintian of some releases finds, and that of others does not know or does not find. The sources are the same for
/// all, so that an override would be unused in the others, which lintian reports, too.
const NOT_OURS: [&str; 8] = [
    // Rules of udev are nothing for a catalogue of applications.
    "appstream-metadata-missing-modalias-provide",
    // There is no C in it that could be fortified.
    "hardening-no-fortify-functions",
    // The oldest release has no other policy, debhelper and dpkg.
    "newer-standards-version",
    "out-of-date-standards-version",
    "package-uses-old-debhelper-compat-version",
    "redundant-priority-optional-field",
    "redundant-rules-requires-root-no-field",
    // There is no place of the project's that it could name.
    "upstream-metadata-file-is-missing",
];

/// Which release of Debian they are for.
#[derive(Args)]
pub(crate) struct Options {
    /// Builds in a Debian of this release, made by debootstrap, and in target/deb-RELEASE [default: this system].
    #[arg(long)]
    release: Option<String>,
}

/// Builds the source package and the binary packages, and holds them against Debian's conventions.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    let place = match &options.release {
        None => Place::Here,
        Some(release) => {
            needs::install(project, needs::CONSUMERS, no_install)?;
            Place::Root(Debian::of(project, release, Purpose::Build)?.prepare(project)?)
        }
    };
    // Before anything else: nothing can be built for a release that is unknown.
    let shell = project.shell()?;
    let c = CPackages::of(&place, &shell)?;
    println!("{} has tpm2-tss {}", c.release, c.version());
    let compiler = compiler_of_release(project, &place, &shell)?;
    if matches!(place, Place::Here) {
        let packages = if compiler { [needs::DEB, needs::DEB_COMPILER].concat() } else { needs::DEB.to_vec() };
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

    // Where the release's compiler is too old, that which built this is taken, and not looked for as a package.
    let build = ["sh", "-c", "cd \"$0\" && exec \"$@\"", &release.directory(), "dpkg-buildpackage", "--no-sign"];
    let (build, compiler) = match compiler {
        true => (build.to_vec(), None),
        false => ([&build[..], &["--no-check-builddeps"]].concat(), Some(place.compiler(&shell)?)),
    };
    packager::run(&shell, &place, &build, compiler.as_deref(), "build.log")?;
    fs::remove_dir_all(&tree)?;

    let changes = names_in(&dir)?.into_iter().find(|name| name.ends_with(".changes")).context("no .changes")?;
    let lintian = "lintian --display-info --pedantic --fail-on error,warning,info,pedantic --tag-display-limit 0";
    // One that it does not know is an error.
    let known = place.command(&shell, &["lintian-explain-tags", "--list-tags"])?.quiet().read()?;
    let known: Vec<&str> = NOT_OURS.into_iter().filter(|tag| known.lines().any(|known| known == *tag)).collect();
    let suppressed = ["--suppress-tags", &known.join(","), &changes];
    let lintian: Vec<&str> = lintian.split(' ').chain(suppressed).collect();
    let clean = place.command(&shell, &lintian)?.quiet().run().is_ok();
    ensure!(clean, "lintian of {} finds fault with the packages", c.release);
    for name in names_in(&dir)?.iter().filter(|name| name.ends_with(".deb")) {
        println!("{}", dir.join(name).display());
    }
    Ok(())
}

/// Where the packages are, by the release that was asked for.
pub(crate) fn directory(project: &Project, release: Option<&str>) -> PathBuf {
    project.target.join(release.map_or_else(|| "deb".to_owned(), |release| format!("deb-{release}")))
}

/// Whether the release has a compiler that is new enough.
fn compiler_of_release(project: &Project, place: &Place, shell: &Shell) -> Result<bool> {
    let wanted = project.workspace_package("rust-version")?;
    let shown = place.command(shell, &["apt-cache", "show", "--no-all-versions", "rustc"])?.quiet().ignore_stderr();
    let shown = shown.ignore_status().read().unwrap_or_default();
    let Some(version) = shown.lines().find_map(|line| line.strip_prefix("Version: ")) else { return Ok(false) };
    Ok(cmd!(shell, "dpkg --compare-versions {version} ge {wanted}").quiet().run().is_ok())
}

/// The binary package of a library: `libtss2-tcti-foo-rs0`.
pub(crate) fn package(library: &Library) -> String {
    format!("lib{}-rs0", library.name())
}

/// Makes `debian` below `tree`.
fn write_debian(project: &Project, release: &Release, tree: &Path) -> Result<()> {
    let (from, debian) = (project.root.join("dist/debian"), tree.join("debian"));
    let shell = project.shell()?;
    cmd!(shell, "cp -r {from} {debian}").quiet().run()?;
    let time = format!("@{}", release.time);
    let date = cmd!(shell, "date --utc --rfc-email --date {time}").quiet().read()?;
    let version = &release.version;
    let changelog = format!(
        "{NAME} ({version}-1) unstable; urgency=medium\n\n  * Release {version}; what is new is in changelog.gz.\n\n -- {MAINTAINER}  {date}\n"
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
