// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask consumers`: prepares a Debian chroot and runs `tests/consumers`, which tests programs that use TCTI modules on
//! our packages. The package with the udev rules needs a kernel with a TPM, so it is tested in a virtual machine.

use crate::debian::{self, Contents, Debian, IN_NAMESPACES, Mirror};
use crate::packages::deb;
use crate::project::{Project, names_in};
use crate::vm_test;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use xshell::cmd;

/// All C modules, as an apt search pattern, so that they can be reinstalled without a network.
const C_MODULES: &str = "?source-package(^tpm2-tss$)";

/// The chroot with the programs that use TCTI modules and the compilers of the examples.
const PROGRAMS: Contents = Contents {
    name: "programs",
    packages: &[
        "clevis-tpm2",
        "dbus-daemon",
        "gcc",
        "golang-go",
        "libc6-dev",
        "libtpm2-pkcs11-1",
        "libtss2-dev",
        "libtss2-tcti-tabrmd0",
        "opensc",
        "openssl",
        "pkg-config",
        "python3-tpm2-pytss",
        "swtpm",
        "systemd",
        "tpm2-abrmd",
        "tpm2-initramfs-tool",
        "tpm2-openssl",
        "tpm2-tools",
        "udev",
        // Dependencies of our packages, so that they can be installed without a network.
        "libusb-1.0-0",
        "libtpms0",
    ],
    optional: &["golang-github-google-go-tpm-dev", "systemd-cryptsetup", "systemd-tpm"],
    downloads: C_MODULES,
};

/// The chroot to upgrade to the next release: small, with programs that must work before and after.
const UPGRADE: Contents = Contents {
    name: "upgrade",
    packages: &[
        "libtpm2-pkcs11-1",
        "libtss2-dev",
        "openssl",
        "swtpm",
        "systemd",
        "tpm2-openssl",
        "tpm2-tools",
        "udev",
        "libusb-1.0-0",
        "libtpms0",
    ],
    optional: &[],
    downloads: C_MODULES,
};

/// Which tests to run, on which packages.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only tests whose name contains this text.
    filter: Option<String>,
    /// Test the programs of this release of Debian [default: this system's].
    #[arg(long)]
    release: Option<String>,
    /// Only test upgrading from that release to this one with our packages installed.
    #[arg(long, value_name = "RELEASE")]
    upgrade: Option<String>,
    /// Directory of our packages [default: the output directory of `cargo xtask deb` for the release].
    #[arg(long)]
    packages: Option<PathBuf>,
}

/// Runs the tests and fails if a program does not work on our libraries.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    if !debian::is_available(project, "the tests of consumers", no_install)? {
        return Ok(());
    }
    let shell = project.shell()?;
    let host = debian::host_suite(&shell);
    let release = options
        .release
        .as_deref()
        .or(host.as_deref())
        .context("cannot determine the release of Debian; use --release")?;
    let dir_of = |release: &str| deb::directory(project, (Some(release) != host.as_deref()).then_some(release));
    let packages = packages(options.packages.clone().unwrap_or_else(|| dir_of(release)))?;
    let contents = if options.upgrade.is_some() { UPGRADE } else { PROGRAMS };
    let root = Debian::of(project, release, contents)?.prepare(project)?;
    let dir = project.target.join("consumers");
    let crates = vendor(project, &dir)?;

    cmd!(shell, "cargo build --quiet --locked --package tss2-consumers").quiet().run()?;
    let program = project.target.join("debug/consumers");
    let rust = cmd!(shell, "rustc --print sysroot").quiet().read()?;
    let [machine, build] = ["machine", "build"].map(|name| dir.join(name));
    fs::create_dir_all(&machine)?;
    write_cargo_settings(&build.join("cargo"))?;
    let environment = [
        ("TSS2_DEBIAN", root),
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
    let tests = cmd!(shell, "env {IN_NAMESPACES...} {program} {filter...}").envs(environment);
    // The directory does not exist in the chroot.
    let tests = tests.env_remove("TMPDIR").quiet();
    if let Some(next) = &options.upgrade {
        let sources = debian::sources(&Mirror::all(&shell, next)?);
        let packages = self::packages(dir_of(next))?;
        tests.env("TSS2_NEXT_SOURCES", sources).env("TSS2_NEXT_PACKAGES", packages).run()?;
    } else {
        tests.run()?;
        if options.filter.is_none() && Some(release) == host.as_deref() {
            vm_test::test_package(project, &packages, no_install)?;
        }
    }
    println!("tested the consumers in {:.0} s", since.elapsed().as_secs_f32());
    Ok(())
}

/// Returns the directory if it contains our packages. Does not check whether they are up to date.
fn packages(dir: PathBuf) -> Result<PathBuf> {
    let has_loader = |names: Vec<String>| names.iter().any(|name| name.starts_with("libtss2-tctildr-rs0_"));
    ensure!(names_in(&dir).is_ok_and(has_loader), "no packages in {}; run cargo xtask deb first", dir.display());
    Ok(dir)
}

/// Vendors the crates of the Rust example, for a build without a network.
fn vendor(project: &Project, dir: &Path) -> Result<PathBuf> {
    let shell = project.shell()?;
    let crates = dir.join("crates");
    let manifest = "examples/rust/Cargo.toml";
    let vendor = cmd!(shell, "cargo vendor --quiet --locked --manifest-path {manifest} {crates}");
    vendor.quiet().ignore_stdout().run().context("cannot vendor the crates of examples/rust")?;
    Ok(crates)
}

/// Writes cargo's settings for the chroot.
fn write_cargo_settings(home: &Path) -> Result<()> {
    fs::create_dir_all(home)?;
    let settings = "[source.crates-io]\nreplace-with = \"crates\"\n\n[source.crates]\ndirectory = \"/crates\"\n";
    Ok(fs::write(home.join("config.toml"), settings)?)
}
