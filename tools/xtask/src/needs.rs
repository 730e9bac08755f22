// SPDX-License-Identifier: BSD-2-Clause
//! Finds missing programs and libraries and installs them: Debian or Fedora packages by [`install`], cargo subcommands by
//! [`cargo_tool`]. [`skip`] reports tests that cannot run here.

use crate::project::Project;
use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;
use xshell::{Shell, cmd};

/// A package of the distribution: its name in Debian and in Fedora (`None` if a Fedora package listed elsewhere contains it).
#[derive(Clone, Copy)]
pub(crate) struct Package(&'static str, Option<&'static str>);

/// Printed before the names of missing packages.
pub(crate) const MISSING: &str = "missing on this machine: ";

/// Separate packages in some releases, part of another package in the others.
const OPTIONAL: [&str; 1] = ["systemd-cryptsetup"];

/// For `cargo xtask demo`.
pub(crate) const DEMO: &[Package] = &[
    Package("libtpms0", Some("libtpms")),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
    Package("tpm2-tools", Some("tpm2-tools")),
];

/// For the unit tests.
pub(crate) const QUICK: &[Package] = &[
    Package("libtpms0", Some("libtpms")),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
];

/// For `cargo xtask bench`, in addition to [`VM`].
pub(crate) const BENCH: &[Package] = &[
    Package("curl", Some("curl")),
    Package("debian-archive-keyring", Some("debian-keyring")),
    Package("gcc", Some("gcc")),
    Package("libtpms0", Some("libtpms")),
    Package("libtss2-esys-3.0.2-0", None),
    Package("libtss2-tcti-cmd0", Some("tpm2-tss")),
    Package("libtss2-tcti-device0", None),
    Package("libtss2-tcti-mssim0", None),
    Package("libtss2-tcti-pcap0", None),
    Package("libtss2-tcti-swtpm0", None),
    Package("libtss2-tctildr0", None),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("openssl", Some("openssl")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
    Package("strace", Some("strace")),
    Package("tpm2-tools", Some("tpm2-tools")),
    Package("valgrind", Some("valgrind")),
];

/// For `cargo xtask soak`, in addition to [`VM`].
pub(crate) const SOAK: &[Package] = &[
    Package("gcc", Some("gcc")),
    Package("libtpms0", Some("libtpms")),
    Package("libtss2-dev", Some("tpm2-tss-devel")),
    Package("libtss2-esys-3.0.2-0", None),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
    Package("tpm2-tools", Some("tpm2-tools")),
];

/// For the virtual machine.
pub(crate) const VM: &[Package] = &[
    Package("busybox-static", None),
    Package("kmod", Some("kmod")),
    Package("qemu-system-x86", Some("qemu-system-x86-core")),
    Package("swtpm", Some("swtpm")),
    Package("util-linux", Some("util-linux")),
    Package("xz-utils", Some("xz")),
    Package("zstd", Some("zstd")),
];

/// For the tests in virtual machines, in addition to [`VM`].
pub(crate) const VM_TEST: &[Package] = &[
    Package("cryptsetup-bin", Some("cryptsetup")),
    Package("curl", Some("curl")),
    Package("dbus-daemon", Some("dbus-daemon")),
    Package("gcc", Some("gcc")),
    Package("libtss2-dev", Some("tpm2-tss-devel")),
    Package("libtss2-esys-3.0.2-0", None),
    Package("libtss2-fapi1", None),
    Package("libtss2-tcti-tabrmd0", None),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("openssl", Some("openssl")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
    Package("systemd", Some("systemd")),
    Package("systemd-cryptsetup", None),
    Package("tpm-udev", None),
    Package("tpm2-abrmd", Some("tpm2-abrmd")),
    Package("tpm2-tools", Some("tpm2-tools")),
    Package("udev", Some("systemd-udev")),
    Package("uuid-dev", Some("libuuid-devel")),
    Package("valgrind", Some("valgrind")),
];

/// Servers for a virtual machine. These packages and their dependencies are unpacked, not installed, because installing them
/// would start the servers on this system.
pub(crate) const UNPACKED: &[Package] = &[
    Package("apache2-bin", None),
    Package("haproxy", None),
    Package("libtpm2-pkcs11-1", None),
    Package("nginx", None),
    Package("tpm2-openssl", None),
];

/// Packages for the virtual machine that builds and boots an initramfs. They are unpacked, not installed, because installing
/// them would rebuild the initramfs of this system.
pub(crate) const EARLY_BOOT: &[Package] = &[
    Package("clevis-initramfs", None),
    Package("clevis-luks", None),
    Package("clevis-tpm2", None),
    Package("cpio", None),
    Package("cracklib-runtime", None),
    Package("cryptsetup-initramfs", None),
    Package("dracut-core", None),
    Package("initramfs-tools", None),
];

/// For `cargo xtask fuzz`.
pub(crate) const FUZZ: &[Package] = &[
    Package("g++", Some("gcc-c++")),
    Package("libtpms0", Some("libtpms")),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
];

/// To create a Debian chroot.
pub(crate) const DEBOOTSTRAP: &[Package] =
    &[Package("debian-archive-keyring", Some("debian-keyring")), Package("debootstrap", Some("debootstrap"))];

/// For all tests except those in virtual machines.
pub(crate) const TEST: &[Package] = &[
    Package("binutils", Some("binutils")),
    Package("g++", Some("gcc-c++")),
    Package("gcc", Some("gcc")),
    Package("go-md2man", Some("golang-github-cpuguy83-md2man")),
    Package("libtpms0", Some("libtpms")),
    Package("libtss2-dev", Some("tpm2-tss-devel")),
    Package("libtss2-esys-3.0.2-0", None),
    Package("libtss2-fapi1", None),
    Package("libtss2-tcti-cmd0", None),
    Package("libtss2-tcti-device0", Some("tpm2-tss")),
    Package("libtss2-tcti-mssim0", None),
    Package("libtss2-tcti-swtpm0", None),
    Package("libtss2-tctildr0", None),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("man-db", Some("man-db")),
    Package("mandoc", Some("mandoc")),
    Package("openssh-client", Some("openssh-clients")),
    Package("openssh-server", Some("openssh-server")),
    Package("openssl", Some("openssl")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
    Package("swtpm", Some("swtpm")),
    Package("tpm2-tools", Some("tpm2-tools")),
    Package("tshark", Some("wireshark-cli")),
    Package("util-linux", Some("util-linux")),
    Package("uuid-dev", Some("libuuid-devel")),
    Package("valgrind", Some("valgrind")),
];

/// To build Debian packages.
pub(crate) const DEB: &[Package] = &[
    Package("build-essential", None),
    Package("debhelper", Some("debhelper")),
    Package("git", Some("git")),
    Package("go-md2man", Some("golang-github-cpuguy83-md2man")),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("lintian", Some("lintian")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
];

/// To build Debian packages with the compiler of the release, in addition to [`DEB`].
pub(crate) const DEB_COMPILER: &[Package] = &[Package("cargo", None), Package("rustc", None)];

/// To build RPM packages.
pub(crate) const RPM: &[Package] = &[
    Package("gcc", Some("gcc")),
    Package("git", Some("git")),
    Package("go-md2man", Some("golang-github-cpuguy83-md2man")),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
    Package("rpm", Some("rpm-build")),
];

/// Returns the names of the packages in Debian.
pub(crate) fn names(packages: &[Package]) -> Vec<&'static str> {
    packages.iter().map(|package| package.0).collect()
}

/// The package manager of this system.
enum Manager {
    Apt,
    Dnf,
}

impl Manager {
    fn of(shell: &Shell) -> Option<Manager> {
        let has = |program: &str| cmd!(shell, "sh -c {program}").quiet().ignore_stdout().ignore_stderr().run().is_ok();
        if has("command -v apt-get") {
            Some(Manager::Apt)
        } else if has("command -v dnf") {
            Some(Manager::Dnf)
        } else {
            None
        }
    }

    fn name<'a>(&self, package: &'a Package) -> Option<&'a str> {
        match self {
            Manager::Apt => Some(package.0),
            Manager::Dnf => package.1,
        }
    }

    /// Returns the names that are not installed. A name that an installed package provides counts as installed: since
    /// Debian's transition to a 64-bit time_t, `libtpms0t64` provides `libtpms0`.
    fn missing<'a>(&self, shell: &Shell, names: BTreeSet<&'a str>) -> Vec<&'a str> {
        let format = "${db:Status-Status}|${Package}|${Provides}\n";
        match self {
            Manager::Apt => {
                let listed = cmd!(shell, "dpkg-query --show --showformat={format}").quiet().read().unwrap_or_default();
                let installed = installed(&listed);
                names.into_iter().filter(|name| !installed.contains(name)).collect()
            }
            Manager::Dnf => {
                let has = |name: &str| {
                    let query = cmd!(shell, "rpm --query --whatprovides {name}");
                    query.quiet().ignore_stdout().ignore_stderr().run().is_ok()
                };
                names.into_iter().filter(|name| !has(name)).collect()
            }
        }
    }

    /// Returns whether the configured repositories have this package.
    fn has(&self, shell: &Shell, name: &str) -> bool {
        let query = match self {
            Manager::Apt => cmd!(shell, "apt-cache show {name}"),
            Manager::Dnf => cmd!(shell, "dnf info {name}"),
        };
        query.quiet().ignore_stdout().ignore_stderr().run().is_ok()
    }

    /// Returns the command that updates the package lists, if the package manager has one. Must run as root.
    fn update(&self) -> Option<Vec<String>> {
        match self {
            Manager::Apt => Some(words("apt-get update --quiet")),
            Manager::Dnf => None,
        }
    }

    /// Returns the command that installs packages. Must run as root.
    fn install(&self, names: &[&str]) -> Vec<String> {
        let mut command = words(match self {
            Manager::Apt => "env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends",
            Manager::Dnf => "dnf install --assumeyes",
        });
        command.extend(names.iter().map(|name| (*name).to_owned()));
        command
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Returns the names of installed packages and of the packages that they provide, from lines `STATUS|NAME|PROVIDES`.
fn installed(listed: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for line in listed.lines() {
        let mut fields = line.split('|');
        if let (Some("installed"), Some(name), Some(provides)) = (fields.next(), fields.next(), fields.next()) {
            names.insert(name);
            // An entry may have a version: `name (= version)`.
            names.extend(provides.split(',').filter_map(|provided| provided.split_whitespace().next()));
        }
    }
    names
}

/// Installs missing packages and prints the command. With `no_install` it only prints the command, and fails if packages are
/// missing.
pub(crate) fn install(project: &Project, packages: &[Package], no_install: bool) -> Result<()> {
    let shell = project.shell()?;
    let Some(manager) = Manager::of(&shell) else {
        println!(
            "cannot check for missing packages without apt-get or dnf; continuing, but these are needed: {}",
            names(packages).join(" ")
        );
        return Ok(());
    };
    let names = packages.iter().filter_map(|package| manager.name(package));
    let is_required = |name: &&str| !OPTIONAL.contains(name);
    let (mut missing, optional): (Vec<_>, Vec<_>) =
        manager.missing(&shell, names.collect()).into_iter().partition(is_required);
    if !missing.is_empty() {
        println!("{MISSING}{}", missing.join(" "));
        // A fresh system has no package lists yet.
        if let Some(words) = manager.update() {
            as_root(&shell, words, no_install)?;
        }
    }
    let optional: Vec<&str> = optional.into_iter().filter(|name| manager.has(&shell, name)).collect();
    if !optional.is_empty() {
        println!("{MISSING}{}", optional.join(" "));
        missing.extend(optional);
    }
    if missing.is_empty() {
        return Ok(());
    }
    as_root(&shell, manager.install(&missing), no_install)?;
    ensure!(!no_install, "these packages are missing and --no-install was given: {}", missing.join(" "));
    Ok(())
}

/// Prints and runs a command, with sudo if needed. With `no_install` it only prints the command.
fn as_root(shell: &Shell, mut words: Vec<String>, no_install: bool) -> Result<()> {
    if cmd!(shell, "id -u").quiet().read()? != "0" {
        words.insert(0, "sudo".to_owned());
    }
    let line = words.join(" ");
    println!("{} {line}", if no_install { "to install:" } else { "installing:" });
    if no_install {
        return Ok(());
    }
    let (program, arguments) = words.split_first().context("no command")?;
    cmd!(shell, "{program} {arguments...}").quiet().ignore_stdout().run().with_context(|| format!("{line} failed"))
}

/// Builds a cargo subcommand from crates.io into `target/tools` unless this version is there, and returns its path. No
/// distribution packages these programs. Building takes minutes, so no test depends on them.
pub(crate) fn cargo_tool(project: &Project, name: &str, version: &str) -> Result<PathBuf> {
    let shell = project.shell()?;
    let (root, build) = (project.target.join("tools"), project.target.join("tools/build"));
    let program = root.join("bin").join(name);
    if !program.exists() {
        println!("building {name} {version}, which takes a few minutes");
    }
    let install =
        cmd!(shell, "cargo install --quiet --locked --root {root} --target-dir {build} --version {version} {name}");
    install.quiet().ignore_stderr().run().with_context(|| format!("cannot build {name}"))?;
    shell.remove_path(build)?;
    Ok(program)
}

/// Reports that tests cannot run on this system. Fails if the environment variable CI is set, where nothing may be skipped.
pub(crate) fn skip(tests: &str, reason: &str) -> Result<()> {
    if env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false") {
        bail!("{tests} cannot run: {reason}");
    }
    println!("skipped {tests}: {reason}");
    Ok(())
}

/// Returns one message for each package that a test declares as a need but that no list here installs. Needs that several
/// tests share are constants in `tests/kit/src/need.rs`.
pub(crate) fn unlisted(project: &Project) -> Result<Vec<String>> {
    let named = Regex::new(r#"(?:const (\w+): Need = )?Need::(?:Program|Library|File)\([^,()]+,\s*"([^"]+)"\)"#)?;
    let constants = fs::read_to_string(project.root.join("tests/kit/src/need.rs"))?;
    let mut wrong = Vec::new();
    for (dir, lists) in [
        ("tests/kit", &[TEST][..]),
        ("tests/e2e", &[TEST]),
        ("tests/reliability", &[TEST]),
        ("tests/guest", &[VM, VM_TEST, UNPACKED, EARLY_BOOT]),
    ] {
        let mut text = String::new();
        for path in project.files(dir)? {
            text += &fs::read_to_string(project.root.join(path))?;
        }
        let words: BTreeSet<&str> = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        let used =
            named.captures_iter(&constants).filter(|found| found.get(1).is_some_and(|it| words.contains(it.as_str())));
        let packages = named.captures_iter(&text).chain(used).filter_map(|found| found.get(2));
        let packages: BTreeSet<&str> = packages.map(|package| package.as_str()).collect();
        let installed = |name: &&str| lists.iter().copied().flatten().any(|package| package.0 == *name);
        let missing = packages.into_iter().filter(|name| !installed(name));
        wrong.extend(
            missing.map(|name| format!("{dir} needs package {name}, which tools/xtask/src/needs.rs does not install")),
        );
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provided_package_counts_as_installed() {
        let listed = "installed|libtpms0t64|libtpms0 (= 0.9.2-3.2)\ninstalled|mawk|awk, other\n\
                      config-files|swtpm|\nnot-installed|nginx|httpd\n";
        let names = installed(listed);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["awk", "libtpms0", "libtpms0t64", "mawk", "other"]);
    }
}
