// SPDX-License-Identifier: BSD-2-Clause
//! Debian packages in `target/deb`, from the commit that is checked out. What `dist/debian` has is used as it is, but
//! for what follows from the libraries; that is written here.

use crate::archive::{self, Release};
use crate::layout::NAME;
use crate::project::{Library, Project, names_in};
use crate::{copyright, needs, packager};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use xshell::cmd;

/// A distribution puts its own here.
const MAINTAINER: &str = "The tss2-tcti-rs authors <tss2-tcti-rs@example.org>";

/// Builds the source package and the binary packages, and holds them against Debian's conventions.
pub(crate) fn run(project: &Project, no_install: bool) -> Result<()> {
    needs::install(project, needs::DEB, no_install)?;
    let release = Release::of(project)?;
    let dir = project.target.join("deb");
    let archives = archive::write(project, &release, &dir)?;
    let tree = dir.join(release.directory());
    let shell = project.shell()?;
    shell.change_dir(&dir);
    for archive in [&archives.sources, &archives.crates] {
        let into = if *archive == archives.crates { &tree } else { &dir };
        cmd!(shell, "tar --directory {into} --extract --file {archive}").quiet().run()?;
    }
    write_debian(project, &release, &tree)?;

    // Debian 12 has no compiler that is new enough: the one that built this is taken, and not looked for as a package.
    shell.change_dir(&tree);
    packager::run(&shell, &["dpkg-buildpackage", "--no-check-builddeps", "--no-sign"], &dir.join("build.log"))?;
    fs::remove_dir_all(&tree)?;

    shell.change_dir(&dir);
    let changes = names_in(&dir)?.into_iter().find(|name| name.ends_with(".changes")).context("no .changes")?;
    cmd!(
        shell,
        "lintian --display-info --pedantic --fail-on error,warning,info,pedantic --tag-display-limit 0 {changes}"
    )
    .quiet()
    .run()?;
    for name in names_in(&dir)?.iter().filter(|name| name.ends_with(".deb")) {
        println!("{}", dir.join(name).display());
    }
    Ok(())
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
        "{NAME} ({version}-1) bookworm; urgency=medium\n\n  * Release {version}; what is new is in changelog.gz.\n\n -- {MAINTAINER}  {date}\n"
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
        let exported = fs::read_to_string(project.root.join(format!("c-tests/abi/{name}.txt")))?;
        let symbols: String = exported.lines().map(|symbol| format!(" {symbol}@Base {version}\n")).collect();
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

/// What Debian 12 has in C, too.
const IN_C: [&str; 6] = ["tcti-cmd", "tcti-device", "tcti-mssim", "tcti-pcap", "tcti-swtpm", "tctildr"];

fn stanza(project: &Project, library: &Library, template: &str) -> Result<String> {
    let metadata = |key: &str| library.metadata(project, key);
    let depends = metadata("debian-depends")?.map(|depends| format!(", {depends}")).unwrap_or_default();
    let mut stanza = template
        .replace("@package@", &package(library))
        .replace("@replaced@", &format!("lib{}0", library.name()))
        .replace("@name@", &library.name())
        .replace("@api-version@", &project.api_version()?)
        .replace("@description@", &library.description(project)?)
        .replace("@depends@", &depends);
    if !IN_C.contains(&library.dir.as_str()) {
        let of_c = ["# The module in C", "Provides:", "Conflicts:", "Replaces:", " It takes the place of"];
        stanza = stanza
            .lines()
            .filter(|line| !of_c.iter().any(|start| line.starts_with(start)))
            .flat_map(|line| [line, "\n"])
            .collect();
    }
    match metadata("debian-recommends")? {
        Some(recommends) => stanza = stanza.replace("@recommends@", &recommends),
        None => stanza = stanza.replace("Recommends: @recommends@\n", ""),
    }
    Ok(stanza)
}
