// SPDX-License-Identifier: BSD-2-Clause
//! Debian chroots of any release in `target/debian`, created by debootstrap from the mirrors that this system's apt uses.
//! [`Debian::prepare`] creates one with the given [`Contents`]; it is then kept and never modified.

pub(crate) mod sid;

mod mirror;

pub(crate) use mirror::{Mirror, host_suite, sources};

use crate::needs;
use crate::project::Project;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use xshell::{Shell, cmd};

/// Prefix of a command that runs it in private mount and PID namespaces. Its mounts and processes vanish when it exits, and it is
/// killed when this program exits for any reason.
pub(crate) const IN_NAMESPACES: [&str; 8] =
    ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"];

/// Directory of debootstrap's scripts, one per release.
const SCRIPTS: &str = "/usr/share/debootstrap/scripts";

/// The contents of a chroot. Two kinds of chroots of one release differ in their name.
#[derive(Clone, Copy)]
pub(crate) struct Contents<'a> {
    /// Follows the release in the directory name, such as `build` in `trixie-build`.
    pub(crate) name: &'static str,
    /// The packages to install.
    pub(crate) packages: &'a [&'a str],
    /// Packages to install if the release has them.
    pub(crate) optional: &'a [&'a str],
    /// A package or an apt search pattern to download without installing; may be empty.
    pub(crate) downloads: &'static str,
}

/// A chroot, which may not exist yet.
pub(crate) struct Debian<'a> {
    release: &'a str,
    contents: Contents<'a>,
    root: PathBuf,
    /// File that records the release and the packages; written once the chroot is complete.
    recipe: PathBuf,
    log: PathBuf,
}

impl Debian<'_> {
    /// Describes the chroot of a release, such as `trixie`. Fails if debootstrap does not know the release.
    pub(crate) fn of<'a>(project: &Project, release: &'a str, contents: Contents<'a>) -> Result<Debian<'a>> {
        let is_name = release.chars().all(|letter| letter.is_ascii_lowercase());
        // The scripts of all current releases of Debian are links to that of sid.
        let script = Path::new(SCRIPTS).join(release).canonicalize();
        let is_debian = is_name && script.is_ok_and(|script| script.ends_with("sid"));
        ensure!(is_debian, "unknown release: {release} is not a release of Debian in {SCRIPTS}");
        let (dir, name) = (project.target.join("debian"), format!("{release}-{}", contents.name));
        let file = |ending: &str| dir.join(format!("{name}{ending}"));
        Ok(Debian { release, contents, root: file(""), recipe: file(".recipe"), log: file(".log") })
    }

    /// Creates the chroot unless it exists, and returns its root directory.
    pub(crate) fn prepare(self, project: &Project) -> Result<PathBuf> {
        let Contents { packages, optional, downloads, .. } = self.contents;
        let recipe = format!("{} {downloads}\n", [&[self.release], packages, optional].concat().join(" "));
        if fs::read_to_string(&self.recipe).is_ok_and(|written| written == recipe) {
            return Ok(self.root);
        }
        let since = Instant::now();
        println!("creating a Debian {} chroot in {}", self.release, self.root.display());
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
        println!("created in {:.0} s", since.elapsed().as_secs_f32());
        Ok(self.root)
    }

    fn bootstrap(&self, shell: &Shell, mirrors: &[Mirror]) -> Result<()> {
        let Debian { root, log, release, .. } = self;
        // Without a mirror, debootstrap uses its default.
        let mirror = mirrors.iter().find(|mirror| mirror.suite == *release).map(|mirror| &mirror.uri);
        let script = "exec \"$@\" >\"$0\" 2>&1";
        let debootstrap = ["debootstrap", "--variant=minbase", release];
        let made = cmd!(shell, "env {IN_NAMESPACES...} sh -c {script} {log} {debootstrap...} {root} {mirror...}")
            .quiet()
            .run();
        made.with_context(|| format!("debootstrap failed, see {}", log.display()))
    }

    /// Configures apt and the network in the chroot as on this system.
    fn configure(&self, shell: &Shell, mirrors: &[Mirror]) -> Result<()> {
        let write = |path: &str, text: &str| {
            let path = self.root.join(path);
            let parent = path.parent().context("a path without a directory")?;
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
        // Keep the packages of the C modules, to reinstall them without a network.
        write("etc/apt/apt.conf.d/01keep", "APT::Keep-Downloaded-Packages \"true\";\n")?;
        write("etc/dpkg/dpkg.cfg.d/unsafe-io", "force-unsafe-io\n")?;
        // Start no services.
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
        let Debian { root, log, contents, .. } = self;
        let script = "set -e; exec >>\"$0\" 2>&1; root=$1 optional=$2 downloads=$3; shift 3; mount -t proc proc \"$root/proc\"; \
                      export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin; \
                      apt() { chroot \"$root\" apt-get --quiet --yes --no-install-recommends \"$@\"; }; apt update; \
                      for name in $optional; do \
                          if chroot \"$root\" apt-cache show \"$name\" >/dev/null; then set -- \"$@\" \"$name\"; fi; \
                      done; \
                      apt install \"$@\"; if [ -n \"$downloads\" ]; then apt --download-only install \"$downloads\"; fi";
        let Contents { packages, optional, downloads, .. } = *contents;
        let optional = optional.join(" ");
        let installed =
            cmd!(shell, "env {IN_NAMESPACES...} sh -c {script} {log} {root} {optional} {downloads} {packages...}");
        installed.quiet().run().with_context(|| format!("cannot install the packages, see {}", log.display()))
    }
}

/// Installs debootstrap and returns whether chroots can be created here. If not, prints the reason; fails if CI is set.
pub(crate) fn is_available(project: &Project, tests: &str, no_install: bool) -> Result<bool> {
    needs::install(project, needs::DEBOOTSTRAP, no_install)?;
    match unavailable(project)? {
        None => Ok(true),
        Some(reason) => needs::skip(tests, reason).map(|()| false),
    }
}

/// Installs debootstrap, and fails if chroots cannot be created here.
pub(crate) fn require(project: &Project, no_install: bool) -> Result<()> {
    needs::install(project, needs::DEBOOTSTRAP, no_install)?;
    match unavailable(project)? {
        None => Ok(()),
        Some(reason) => bail!("cannot create a Debian chroot: {reason}"),
    }
}

/// Returns why chroots cannot be created on this system; `None` if they can.
fn unavailable(project: &Project) -> Result<Option<&'static str>> {
    let shell = project.shell()?;
    let works = |script: &str| cmd!(shell, "sh -c {script}").quiet().ignore_stdout().ignore_stderr().run().is_ok();
    Ok(if cmd!(shell, "id -u").quiet().read()? != "0" {
        Some("needs root, to run debootstrap")
    } else if !works("command -v debootstrap") {
        Some("needs package debootstrap")
    } else if !works("unshare --mount --pid --fork mount -t tmpfs none /mnt") {
        Some("needs permission to mount")
    } else if !works("grep -w overlay /proc/filesystems || modprobe overlay") {
        Some("needs a kernel with overlayfs")
    } else {
        None
    })
}
