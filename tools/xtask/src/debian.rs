// SPDX-License-Identifier: BSD-2-Clause
//! A clean Debian of any release below `target/debian`, made once by debootstrap from the mirrors that this machine's apt
//! uses, with the packages of its [`Purpose`]. It is not changed afterwards.

use crate::mirror::{self, Mirror};
use crate::project::Project;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use xshell::{Shell, cmd};

/// Before a program: its mounts and processes end with it, and it ends with us, however that may be.
pub(crate) const IN_NAME_SPACES: [&str; 8] =
    ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"];

/// What debootstrap knows.
const SCRIPTS: &str = "/usr/share/debootstrap/scripts";

/// What a Debian is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// To run what uses TCTI modules, and to build the examples.
    Programs,
    /// To be upgraded to the next release: a small one, with the programs that have to survive.
    Upgrade,
    /// To build our packages.
    Build,
    /// To compile for other architectures and to emulate them.
    Cross,
    /// To follow the README: what it asks for, and git.
    Fresh,
}

const PROGRAMS: &[&str] = &[
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
    // What our packages need, so that they are installed without a network.
    "libusb-1.0-0",
    "libtpms0",
];

const UPGRADE: &[&str] = &[
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
];

const BUILD: &[&str] =
    &["build-essential", "cargo", "debhelper", "go-md2man", "libusb-1.0-0-dev", "lintian", "pkg-config", "rustc"];

const CROSS: &[&str] = &[
    "cargo",
    "debian-archive-keyring",
    "gcc",
    "gcc-aarch64-linux-gnu",
    "gcc-arm-linux-gnueabihf",
    "gcc-i686-linux-gnu",
    "gcc-powerpc64le-linux-gnu",
    "gcc-riscv64-linux-gnu",
    "gcc-s390x-linux-gnu",
    "libc6-dev",
    "libtpms0",
    "libtss2-dev",
    "libusb-1.0-0-dev",
    "openssl",
    "pkgconf",
    "qemu-user",
    "rustc",
    // For musl: its compiler, what Rust's library is compiled from, and what unwinds in place of GCC's, which is made for glibc.
    "libunwind-19-dev",
    "musl-tools",
    "rust-src",
    // A TPM for the programs.
    "swtpm",
    "tpm2-tools",
];

const FRESH: &[&str] = &["cargo", "gcc", "git", "libc6-dev", "rustc"];

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Purpose::Programs => "programs",
            Purpose::Upgrade => "upgrade",
            Purpose::Build => "build",
            Purpose::Cross => "cross",
            Purpose::Fresh => "fresh",
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Purpose::Programs => PROGRAMS,
            Purpose::Upgrade => UPGRADE,
            Purpose::Build => BUILD,
            Purpose::Cross => CROSS,
            Purpose::Fresh => FRESH,
        }
    }

    /// Packages of their own in some releases, and in others a part of those above.
    fn where_there_are(self) -> &'static [&'static str] {
        match self {
            Purpose::Programs => &["systemd-cryptsetup", "systemd-tpm"],
            Purpose::Upgrade | Purpose::Build | Purpose::Cross | Purpose::Fresh => &[],
        }
    }

    /// What is only downloaded, in apt's words: every C module, for the way back without a network.
    fn downloads(self) -> &'static str {
        match self {
            Purpose::Programs | Purpose::Upgrade => "?source-package(^tpm2-tss$)",
            Purpose::Build | Purpose::Cross | Purpose::Fresh => "",
        }
    }
}

/// The directories.
pub(crate) struct Debian<'a> {
    release: &'a str,
    purpose: Purpose,
    root: PathBuf,
    /// Has the recipe that the root was made by, once it is whole.
    recipe: PathBuf,
    log: PathBuf,
}

impl Debian<'_> {
    /// `release` is a name that debootstrap knows, such as trixie.
    pub(crate) fn of<'a>(project: &Project, release: &'a str, purpose: Purpose) -> Result<Debian<'a>> {
        let is_name = release.chars().all(|letter| letter.is_ascii_lowercase());
        // The script of each release of Debian that is kept today is a link to that of sid.
        let script = Path::new(SCRIPTS).join(release).canonicalize();
        let is_debian = is_name && script.is_ok_and(|script| script.ends_with("sid"));
        ensure!(is_debian, "unknown release: {release} is no release of Debian that debootstrap has in {SCRIPTS}");
        let (dir, name) = (project.target.join("debian"), format!("{release}-{}", purpose.name()));
        let file = |ending: &str| dir.join(format!("{name}{ending}"));
        Ok(Debian { release, purpose, root: file(""), recipe: file(".recipe"), log: file(".log") })
    }

    /// Makes it, unless it is there; gives its root.
    pub(crate) fn prepare(self, project: &Project) -> Result<PathBuf> {
        let words = [&[self.release], self.purpose.packages(), self.purpose.where_there_are()].concat();
        let recipe = format!("{} {}\n", words.join(" "), self.purpose.downloads());
        if fs::read_to_string(&self.recipe).is_ok_and(|made_by| made_by == recipe) {
            return Ok(self.root);
        }
        let since = Instant::now();
        println!("making a Debian {} in {}", self.release, self.root.display());
        if self.recipe.exists() {
            fs::remove_file(&self.recipe)?;
        }
        if self.root.exists() {
            fs::remove_dir_all(&self.root).with_context(|| format!("cannot remove {}", self.root.display()))?;
        }
        fs::create_dir_all(&self.root)?;
        let shell = project.shell()?;
        let mirrors = Mirror::all(&shell, self.release)?;
        self.bootstrap(&shell, &mirrors)?;
        self.configure(&shell, &mirrors)?;
        self.install(&shell)?;
        fs::write(&self.recipe, recipe)?;
        println!("made in {:.0} s", since.elapsed().as_secs_f32());
        Ok(self.root)
    }

    fn bootstrap(&self, shell: &Shell, mirrors: &[Mirror]) -> Result<()> {
        let Debian { root, log, release, .. } = self;
        // Without one debootstrap has its own.
        let mirror = mirrors.iter().find(|mirror| mirror.suite == *release).map(|mirror| &mirror.uri);
        let script = "exec \"$@\" >\"$0\" 2>&1";
        let debootstrap = ["debootstrap", "--variant=minbase", release];
        let made = cmd!(shell, "env {IN_NAME_SPACES...} sh -c {script} {log} {debootstrap...} {root} {mirror...}")
            .quiet()
            .run();
        made.with_context(|| format!("debootstrap failed, see {}", log.display()))
    }

    /// Gives it this machine's way to the mirrors.
    fn configure(&self, shell: &Shell, mirrors: &[Mirror]) -> Result<()> {
        let write = |path: &str, text: &str| {
            let path = self.root.join(path);
            let parent = path.parent().context("no directory")?;
            fs::create_dir_all(parent)?;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        if !mirrors.is_empty() {
            write("etc/apt/sources.list", &mirror::sources(mirrors))?;
        }
        let settings = cmd!(shell, "apt-config dump").quiet().read().unwrap_or_default();
        let acquire: String =
            settings.lines().filter(|line| line.starts_with("Acquire::")).flat_map(|line| [line, "\n"]).collect();
        write("etc/apt/apt.conf.d/00host", &acquire)?;
        // The packages of the C modules stay for the way back.
        write("etc/apt/apt.conf.d/01keep", "APT::Keep-Downloaded-Packages \"true\";\n")?;
        write("etc/dpkg/dpkg.cfg.d/unsafe-io", "force-unsafe-io\n")?;
        // No service is started.
        write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(self.root.join("usr/sbin/policy-rc.d"), fs::Permissions::from_mode(0o755))?;
        for file in ["etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"] {
            if let Ok(text) = fs::read_to_string(Path::new("/").join(file)) {
                write(file, &text)?;
            }
        }
        Ok(())
    }

    fn install(&self, shell: &Shell) -> Result<()> {
        let Debian { root, log, purpose, .. } = self;
        let script = "set -e; exec >>\"$0\" 2>&1; root=$1 optional=$2 downloads=$3; shift 3; mount -t proc proc \"$root/proc\"; \
                      export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin; \
                      apt() { chroot \"$root\" apt-get --quiet --yes --no-install-recommends \"$@\"; }; apt update; \
                      for name in $optional; do \
                          if chroot \"$root\" apt-cache show \"$name\" >/dev/null; then set -- \"$@\" \"$name\"; fi; \
                      done; \
                      apt install \"$@\"; if [ -n \"$downloads\" ]; then apt --download-only install \"$downloads\"; fi";
        let (optional, downloads) = (purpose.where_there_are().join(" "), purpose.downloads());
        let packages = purpose.packages();
        let done =
            cmd!(shell, "env {IN_NAME_SPACES...} sh -c {script} {log} {root} {optional} {downloads} {packages...}");
        done.quiet().run().with_context(|| format!("cannot install the packages, see {}", log.display()))
    }
}
