// SPDX-License-Identifier: BSD-2-Clause
//! The programs of a release of Debian that use TCTI modules, on our packages: prepares what `tests/consumers` needs and runs
//! it. The package of the rules alone is for a kernel with a TPM, so that is tested in a virtual machine.

use crate::debian::{Debian, IN_NAME_SPACES, Purpose};
use crate::mirror::{self, Mirror};
use crate::project::{Project, names_in};
use crate::{deb, needs, vm_test};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use xshell::cmd;

/// What to run, on which packages.
#[derive(Args)]
pub(crate) struct Options {
    /// Only tests with this in their names.
    filter: Option<String>,
    /// The release of Debian whose programs these are [default: this machine's].
    #[arg(long)]
    release: Option<String>,
    /// Upgrades that release to this one, with our packages in it, and runs nothing else.
    #[arg(long, value_name = "RELEASE")]
    upgrade: Option<String>,
    /// A directory with our packages [default: where `cargo xtask deb` puts those for the release].
    #[arg(long)]
    packages: Option<PathBuf>,
}

/// Fails when a program does not work on our libraries.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    needs::install(project, needs::CONSUMERS, no_install)?;
    if let Some(reason) = unavailable(project)? {
        if env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false") {
            bail!("the consumers cannot be tested: {reason}");
        }
        println!("skipped the consumers: {reason}");
        return Ok(());
    }
    let shell = project.shell()?;
    let here = mirror::suite_here(&shell);
    let release = options.release.as_deref().or(here.as_deref()).context("which release? Name one with --release")?;
    let dir_of = |release: &str| deb::directory(project, (Some(release) != here.as_deref()).then_some(release));
    let packages = packages(options.packages.clone().unwrap_or_else(|| dir_of(release)))?;
    let purpose = if options.upgrade.is_some() { Purpose::Upgrade } else { Purpose::Programs };
    let debian = Debian::of(project, release, purpose)?.prepare(project)?;
    let dir = project.target.join("consumers");
    let crates = vendor(project, &dir)?;

    cmd!(shell, "cargo build --quiet --locked --package tss2-consumers").quiet().run()?;
    let program = project.target.join("debug/consumers");
    let rust = cmd!(shell, "rustc --print sysroot").quiet().read()?;
    let [machine, build] = ["machine", "build"].map(|name| dir.join(name));
    fs::create_dir_all(&machine)?;
    write_cargo_settings(&build.join("cargo"))?;
    let environment = [
        ("TSS2_DEBIAN", debian),
        ("TSS2_MACHINE", machine),
        ("TSS2_PACKAGES", packages.clone()),
        ("TSS2_EXAMPLES", project.root.join("examples")),
        ("TSS2_C_TESTS", project.root.join("c-tests")),
        ("TSS2_RUST", rust.into()),
        ("TSS2_CRATES", crates),
        ("TSS2_BUILD", build),
    ];
    let since = Instant::now();
    let filter = options.filter.as_slice();
    let tests = cmd!(shell, "env {IN_NAME_SPACES...} {program} {filter...}").envs(environment);
    // No such directory is inside.
    let tests = tests.env_remove("TMPDIR").quiet();
    if let Some(next) = &options.upgrade {
        let sources = mirror::sources(&Mirror::all(&shell, next)?);
        let packages = self::packages(dir_of(next))?;
        tests.env("TSS2_NEXT_SOURCES", sources).env("TSS2_NEXT_PACKAGES", packages).run()?;
    } else {
        tests.run()?;
        if options.filter.is_none() && Some(release) == here.as_deref() {
            vm_test::test_package(project, &packages, no_install)?;
        }
    }
    println!("the consumers took {:.0} s", since.elapsed().as_secs_f32());
    Ok(())
}

/// Why it cannot be done on this machine.
pub(crate) fn unavailable(project: &Project) -> Result<Option<&'static str>> {
    let shell = project.shell()?;
    let works = |script: &str| cmd!(shell, "sh -c {script}").quiet().ignore_stdout().ignore_stderr().run().is_ok();
    Ok(if cmd!(shell, "id -u").quiet().read()? != "0" {
        Some("needs root, to make a Debian with debootstrap")
    } else if !works("command -v debootstrap") {
        Some("needs package debootstrap")
    } else if !works("unshare --mount --pid --fork mount -t tmpfs none /mnt") {
        Some("needs the right to mount")
    } else if !works("grep -w overlay /proc/filesystems || modprobe overlay") {
        Some("needs a kernel with overlayfs")
    } else {
        None
    })
}

/// The directory, if our packages are in it. They are made by another command, and not looked at for their age.
fn packages(dir: PathBuf) -> Result<PathBuf> {
    let has_loader = |names: Vec<String>| names.iter().any(|name| name.starts_with("libtss2-tctildr-rs0_"));
    ensure!(names_in(&dir).is_ok_and(has_loader), "no packages in {}; make them first", dir.display());
    Ok(dir)
}

/// The crates of the Rust example, for a build without a network.
fn vendor(project: &Project, dir: &Path) -> Result<PathBuf> {
    let shell = project.shell()?;
    let crates = dir.join("crates");
    let manifest = "examples/rust/Cargo.toml";
    let vendor = cmd!(shell, "cargo vendor --quiet --locked --manifest-path {manifest} {crates}");
    vendor.quiet().ignore_stdout().run().context("cannot get the crates of examples/rust")?;
    Ok(crates)
}

/// What cargo reads inside.
fn write_cargo_settings(home: &Path) -> Result<()> {
    fs::create_dir_all(home)?;
    let settings = "[source.crates-io]\nreplace-with = \"crates\"\n\n[source.crates]\ndirectory = \"/crates\"\n";
    Ok(fs::write(home.join("config.toml"), settings)?)
}
