// SPDX-License-Identifier: BSD-2-Clause
//! RPM packages in `target/rpm`, from the commit that is checked out and the specification in `dist/rpm`. Its parts on
//! the libraries are written here.

use crate::archive::{self, Release};
use crate::deb;
use crate::needs;
use crate::packager;
use crate::place::Place;
use crate::project::{Library, Project};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use xshell::cmd;

/// Builds the source package and the binary packages.
pub(crate) fn run(project: &Project, no_install: bool) -> Result<()> {
    needs::install(project, needs::RPM, no_install)?;
    let release = Release::of(project)?;
    let top = project.target.join("rpm");
    let archives = archive::write(project, &release, &top.join("SOURCES"))?;
    let file = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).context("no name");

    let from = project.root.join("dist/rpm");
    let template = fs::read_to_string(from.join("library"))?;
    let libraries = project.libraries()?;
    let packages: Result<String> = libraries.iter().map(|library| of_library(project, library, &template)).collect();
    let required = libraries
        .iter()
        .map(|library| format!("Requires:       {} = %{{version}}-%{{release}}", deb::package(library)));
    let spec = fs::read_to_string(from.join("tss2-tcti-rs.spec"))?
        .replace("@packages@", &packages?)
        .replace("@libraries@", &required.collect::<Vec<_>>().join("\n"))
        .replace("@version@", &release.version)
        .replace("@rust-version@", &project.workspace_package("rust-version")?)
        .replace("@sources@", &file(&archives.sources)?)
        .replace("@crates@", &file(&archives.crates)?);
    let path = top.join("tss2-tcti-rs.spec");
    fs::write(&path, spec)?;

    let shell = project.shell()?;
    shell.change_dir(&top);
    let (top_dir, spec) = (format!("_topdir {}", top.display()), path.display().to_string());
    // What it is built with is looked for in the database of rpm, which is empty on Debian.
    let command = ["rpmbuild", "-ba", "--nodeps", "--define", &top_dir, &spec];
    let compiler = Place::Here.compiler(&shell)?;
    packager::run(&shell, &Place::Here, &command, Some(&compiler), "build.log")?;
    for dir in ["BUILD", "BUILDROOT"] {
        shell.remove_path(dir)?;
    }
    for path in cmd!(shell, "find {top} -name *.rpm").quiet().read()?.lines() {
        println!("{path}");
    }
    Ok(())
}

/// The sections of a library.
fn of_library(project: &Project, library: &Library, template: &str) -> Result<String> {
    let relation = |tag: &str, key: &str| -> Result<String> {
        let value = library.metadata(project, key)?;
        Ok(value.map(|value| format!("{tag}:{:width$}{value}\n", "", width = 15 - tag.len())).unwrap_or_default())
    };
    let relations = relation("Requires", "rpm-requires")? + &relation("Recommends", "rpm-recommends")?;
    Ok(template
        .replace("@package@", &deb::package(library))
        .replace("@name@", &library.name())
        .replace("@description@", &library.description(project)?)
        .replace("@relations@\n", &(relations + "\n")))
}
