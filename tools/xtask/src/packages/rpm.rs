// SPDX-License-Identifier: BSD-2-Clause
//! RPM packages in `target/rpm`, built from the commit that is checked out and the spec file in `dist/rpm`. The sections for
//! the libraries are generated here: [`run`].

use super::archive::{self, Release};
use super::deb;
use super::system::System;
use crate::needs;
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
    let file = |path: &Path| {
        path.file_name().map(|name| name.to_string_lossy().into_owned()).context("an archive without a name")
    };

    let from = project.root.join("dist/rpm");
    let template = fs::read_to_string(from.join("library"))?;
    let libraries = project.libraries()?;
    let packages: Result<String> = libraries.iter().map(|library| sections(project, library, &template)).collect();
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
    // --nodeps: rpmbuild looks for build dependencies in the RPM database, which is empty on Debian.
    let command = ["rpmbuild", "-ba", "--nodeps", "--define", &top_dir, &spec];
    let compiler = System::Host.compiler(&shell)?;
    System::Host.build(&shell, &command, Some(&compiler), "build.log")?;
    for dir in ["BUILD", "BUILDROOT"] {
        shell.remove_path(dir)?;
    }
    for path in cmd!(shell, "find {top} -name *.rpm").quiet().read()?.lines() {
        println!("{path}");
    }
    Ok(())
}

/// Returns the sections of the spec file for a library.
fn sections(project: &Project, library: &Library, template: &str) -> Result<String> {
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
