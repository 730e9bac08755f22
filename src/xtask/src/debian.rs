// SPDX-License-Identifier: BSD-2-Clause
//! A clean Debian of any release below `target`, made once by debootstrap from the mirrors that this machine's apt uses,
//! with the packages that its user asks for.

use crate::project::Project;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use xshell::{Shell, cmd};

/// Before a program: its mounts and processes end with it, and it ends with us, however that may be.
pub(crate) const IN_NAME_SPACES: [&str; 8] =
    ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"];

/// Debian 12.
pub(crate) const BOOKWORM: &str = "bookworm";
/// Debian 13.
pub(crate) const TRIXIE: &str = "trixie";

/// What it is, and the directories.
pub(crate) struct Debian {
    suite: &'static str,
    packages: Vec<String>,
    root: PathBuf,
    /// Has the recipe that the root was made by, once it is whole.
    recipe: PathBuf,
}

impl Debian {
    pub(crate) fn below(dir: &Path, suite: &'static str, packages: &[&str]) -> Debian {
        let packages = packages.iter().map(|name| (*name).to_owned()).collect();
        Debian { suite, packages, root: dir.join("debian"), recipe: dir.join("debian.recipe") }
    }

    /// Makes it, unless it is there; gives its root.
    pub(crate) fn prepare(self, project: &Project) -> Result<PathBuf> {
        let recipe = format!("{} {}\n", self.suite, self.packages.join(" "));
        if fs::read_to_string(&self.recipe).is_ok_and(|made_by| made_by == recipe) {
            return Ok(self.root);
        }
        let since = Instant::now();
        println!("making a Debian {} with the programs in {}", self.suite, self.root.display());
        if self.recipe.exists() {
            fs::remove_file(&self.recipe)?;
        }
        if self.root.exists() {
            fs::remove_dir_all(&self.root).with_context(|| format!("cannot remove {}", self.root.display()))?;
        }
        fs::create_dir_all(&self.root)?;
        let shell = project.shell()?;
        let mirrors = Mirror::all(&shell, self.suite)?;
        self.bootstrap(&shell, &mirrors)?;
        self.configure(&shell, &mirrors)?;
        self.install(&shell)?;
        fs::write(&self.recipe, recipe)?;
        println!("made in {:.0} s", since.elapsed().as_secs_f32());
        Ok(self.root)
    }

    fn bootstrap(&self, shell: &Shell, mirrors: &[Mirror]) -> Result<()> {
        let (root, log) = (&self.root, self.root.with_extension("log"));
        // Without one debootstrap has its own.
        let mirror = mirrors.iter().find(|mirror| mirror.suite == self.suite).map(|mirror| mirror.uri.clone());
        let mirror = mirror.map_or_else(|| self::mirror(shell), |uri| Ok(Some(uri)))?;
        let script = "exec \"$@\" >\"$0\" 2>&1";
        let debootstrap = ["debootstrap", "--variant=minbase", self.suite];
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
            let line = |mirror: &Mirror| format!("deb {} {} main\n", mirror.uri, mirror.suite);
            write("etc/apt/sources.list", &mirrors.iter().map(line).collect::<String>())?;
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
        let (root, log, packages) = (&self.root, self.root.with_extension("log"), &self.packages);
        let script = "exec >>\"$0\" 2>&1; root=$1; shift; mount -t proc proc \"$root/proc\"; \
                      export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin; \
                      chroot \"$root\" apt-get --quiet update && \
                      exec chroot \"$root\" apt-get --quiet --yes --no-install-recommends install \"$@\"";
        let done = cmd!(shell, "env {IN_NAME_SPACES...} sh -c {script} {log} {root} {packages...}").quiet().run();
        done.with_context(|| format!("cannot install the programs, see {}", log.display()))
    }
}

/// Where this machine's apt gets Debian's packages, of whichever suite. That place has the others, too.
pub(crate) fn mirror(shell: &Shell) -> Result<Option<String>> {
    let listed = Mirror::listed(shell)?;
    Ok(any_suite(&listed).map(str::to_owned))
}

fn any_suite(listed: &str) -> Option<&str> {
    // Security updates have a place of their own, and a hyphen in their name.
    let suite = |line: &str| line.rsplit_once('|').is_some_and(|(_, suite)| !suite.contains('-'));
    let line = listed.lines().filter(|line| suite(line)).find_map(|line| line.strip_prefix("Debian|main|"))?;
    line.split('|').next()
}

/// Where this machine's apt gets packages of the suite.
struct Mirror {
    uri: String,
    /// The suite, its updates, its security updates.
    suite: String,
}

impl Mirror {
    fn all(shell: &Shell, suite: &str) -> Result<Vec<Mirror>> {
        Ok(Mirror::parse(&Mirror::listed(shell)?, suite))
    }

    fn listed(shell: &Shell) -> Result<String> {
        let format = "$(ORIGIN)|$(COMPONENT)|$(REPO_URI)|$(CODENAME)";
        let listed = cmd!(shell, "apt-get indextargets --format {format} 'Created-By: Packages'").quiet().read();
        listed.context("cannot ask apt-get for its mirrors")
    }

    /// Nothing unless the suite itself is among them.
    fn parse(listed: &str, wanted: &str) -> Vec<Mirror> {
        let mirror = |line: &str| {
            let rest = line.strip_prefix("Debian|main|")?;
            let (uri, suite) = rest.split_once('|')?;
            let is_wanted = suite == wanted || suite.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('-'));
            is_wanted.then(|| Mirror { uri: uri.to_owned(), suite: suite.to_owned() })
        };
        let mirrors: Vec<Mirror> = listed.lines().filter_map(mirror).collect();
        if mirrors.iter().any(|mirror| mirror.suite == wanted) { mirrors } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_of_the_suite_are_taken_and_no_others() {
        let listed = "Debian|main|http://a.invalid/debian/|bookworm\nDebian|contrib|http://a.invalid/debian/|bookworm\n\
                      Debian|main|http://a.invalid/security/|bookworm-security\nOther|main|http://b.invalid/|bookworm\n\
                      Debian|main|http://a.invalid/debian/|trixie\n";
        let found: Vec<_> =
            Mirror::parse(listed, BOOKWORM).into_iter().map(|mirror| (mirror.uri, mirror.suite)).collect();
        let expected = [("http://a.invalid/debian/", "bookworm"), ("http://a.invalid/security/", "bookworm-security")];
        assert_eq!(found, expected.map(|(uri, suite)| (uri.to_owned(), suite.to_owned())));
        assert!(Mirror::parse("Debian|main|http://a.invalid/|bookworm-updates\n", BOOKWORM).is_empty());
    }

    #[test]
    fn a_mirror_of_any_suite_has_the_others() {
        let listed = "Debian|main|http://a.invalid/security/|trixie-security\nOther|main|http://b.invalid/|stable\n\
                      Debian|main|http://a.invalid/debian/|trixie\n";
        assert_eq!(any_suite(listed), Some("http://a.invalid/debian/"));
        assert_eq!(any_suite("Ubuntu|main|http://a.invalid/|noble\n"), None);
    }
}
