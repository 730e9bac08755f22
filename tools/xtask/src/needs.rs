// SPDX-License-Identifier: BSD-2-Clause
//! What the machine lacks, and how to install it.

use crate::project::Project;
use anyhow::{Context, Result, ensure};
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use xshell::{Shell, cmd};

/// A package of the distribution: its name in Debian and in Fedora (`None` where Fedora has it in another one).
#[derive(Clone, Copy)]
pub(crate) struct Package(&'static str, Option<&'static str>);

/// What is printed when something is missing, before the names.
pub(crate) const MISSING: &str = "missing on this machine: ";

/// Packages of their own in some releases, and in others a part of another one.
const WHERE_THERE_ARE: [&str; 1] = ["systemd-cryptsetup"];

/// To show a TPM that answers.
pub(crate) const DEMO: &[Package] = &[
    Package("libtpms0", Some("libtpms")),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
    Package("tpm2-tools", Some("tpm2-tools")),
];

/// To run the unit tests.
pub(crate) const QUICK: &[Package] = &[
    Package("libtpms0", Some("libtpms")),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
];

/// To compare with the C modules, besides [`VM`].
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

/// To put every module under load, besides [`VM`].
pub(crate) const SOAK: &[Package] = &[
    Package("gcc", Some("gcc")),
    Package("libtpms0", Some("libtpms")),
    Package("libtss2-dev", Some("tpm2-tss-devel")),
    Package("libtss2-esys-3.0.2-0", None),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
    Package("tpm2-tools", Some("tpm2-tools")),
];

/// To boot the virtual machine.
pub(crate) const VM: &[Package] = &[
    Package("busybox-static", None),
    Package("kmod", Some("kmod")),
    Package("qemu-system-x86", Some("qemu-system-x86-core")),
    Package("swtpm", Some("swtpm")),
    Package("util-linux", Some("util-linux")),
    Package("xz-utils", Some("xz")),
    Package("zstd", Some("zstd")),
];

/// To build and run the tests in virtual machines, besides [`VM`].
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

/// What a virtual machine has besides the programs of this one, with what these depend on. It is unpacked and never
/// installed: the servers would be started here.
pub(crate) const UNPACKED: &[Package] = &[
    Package("apache2-bin", None),
    Package("haproxy", None),
    Package("libtpm2-pkcs11-1", None),
    Package("nginx", None),
    Package("tpm2-openssl", None),
];

/// The same for the machine that builds an initramfs and boots it. Installed here, they would build one of this kernel.
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

/// To build and run the fuzzers.
pub(crate) const FUZZ: &[Package] = &[
    Package("g++", Some("gcc-c++")),
    Package("libtpms0", Some("libtpms")),
    Package("libusb-1.0-0-dev", Some("libusb1-devel")),
    Package("pkg-config", Some("pkgconf-pkg-config")),
];

/// To make a Debian and run the consumers in it.
pub(crate) const CONSUMERS: &[Package] =
    &[Package("debian-archive-keyring", Some("debian-keyring")), Package("debootstrap", Some("debootstrap"))];

/// To run every test but those in virtual machines.
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

/// To build them with the release's own compiler.
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

/// Their names in Debian.
pub(crate) fn names(packages: &[Package]) -> Vec<&'static str> {
    packages.iter().map(|package| package.0).collect()
}

/// How packages are looked up and installed here.
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

    /// Those of the names that are not installed. What an installed package provides is: Debian's `libtpms0` is in
    /// `libtpms0t64` since its time has 64 bits everywhere.
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

    /// Whether there is a package of this name to install.
    fn knows(&self, shell: &Shell, name: &str) -> bool {
        let query = match self {
            Manager::Apt => cmd!(shell, "apt-cache show {name}"),
            Manager::Dnf => cmd!(shell, "dnf info {name}"),
        };
        query.quiet().ignore_stdout().ignore_stderr().run().is_ok()
    }

    /// The command that looks for what is new, where there is one; for root, as the next one is.
    fn update(&self) -> Option<Vec<String>> {
        match self {
            Manager::Apt => Some(words("apt-get update --quiet")),
            Manager::Dnf => None,
        }
    }

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

/// The names of installed packages and those that they provide, from lines `STATUS|NAME|PROVIDES`.
fn installed(listed: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for line in listed.lines() {
        let mut fields = line.split('|');
        if let (Some("installed"), Some(name), Some(provides)) = (fields.next(), fields.next(), fields.next()) {
            names.insert(name);
            // Each may be `name (= version)`.
            names.extend(provides.split(',').filter_map(|provided| provided.split_whitespace().next()));
        }
    }
    names
}

/// Installs what is missing, saying so; with `no_install` it says what to run and fails.
pub(crate) fn install(project: &Project, packages: &[Package], no_install: bool) -> Result<()> {
    let shell = project.shell()?;
    let Some(manager) = Manager::of(&shell) else {
        println!("neither apt-get nor dnf is here; going on, but these are needed: {}", names(packages).join(" "));
        return Ok(());
    };
    let names = packages.iter().filter_map(|package| manager.name(package));
    let is_everywhere = |name: &&str| !WHERE_THERE_ARE.contains(name);
    let (mut missing, others): (Vec<_>, Vec<_>) =
        manager.missing(&shell, names.collect()).into_iter().partition(is_everywhere);
    if !missing.is_empty() {
        println!("{MISSING}{}", missing.join(" "));
        // In a new system apt has no lists yet, and so knows no package.
        if let Some(words) = manager.update() {
            as_root(&shell, words, no_install)?;
        }
    }
    let others: Vec<&str> = others.into_iter().filter(|name| manager.knows(&shell, name)).collect();
    if !others.is_empty() {
        println!("{MISSING}{}", others.join(" "));
        missing.extend(others);
    }
    if missing.is_empty() {
        return Ok(());
    }
    as_root(&shell, manager.install(&missing), no_install)?;
    ensure!(!no_install, "not installed, as asked: {}", missing.join(" "));
    Ok(())
}

/// Runs a command with sudo where that is needed, saying so; with `no_install` it only says so.
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

/// Packages that tests say they need, and that are not installed for them. `tests/kit/src/need.rs` has those which many
/// tests need as constants.
pub(crate) fn forgotten(project: &Project) -> Result<Vec<String>> {
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
            missing.map(|name| format!("{dir} needs package {name}; tools/xtask/src/needs.rs has to install it")),
        );
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_another_one_provides_is_installed() {
        let listed = "installed|libtpms0t64|libtpms0 (= 0.9.2-3.2)\ninstalled|mawk|awk, other\n\
                      config-files|swtpm|\nnot-installed|nginx|httpd\n";
        let names = installed(listed);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["awk", "libtpms0", "libtpms0t64", "mawk", "other"]);
    }
}
