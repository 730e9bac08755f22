// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask fresh`: tests the first steps of a new user. Clones the commit that is checked out into a Debian chroot that only
//! has a compiler and git, and runs `cargo xtask demo` and `cargo xtask test` there. Then runs both again while apt cannot
//! reach its mirrors, to verify that the first run has installed everything. All changes go to an overlay, so the chroot stays
//! unmodified.

use crate::debian::{self, Contents, Debian, IN_NAMESPACES};
use crate::needs;
use crate::project::Project;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use xshell::cmd;

/// The chroot: what README.md asks for, and git.
const CHROOT: Contents =
    Contents { name: "fresh", packages: &["cargo", "gcc", "git", "libc6-dev", "rustc"], optional: &[], downloads: "" };

/// Directories of the clone and of the vendored crates in the chroot.
const CLONE: &str = "root/tss2-tcti-rs";
const CRATES: &str = "crates";

/// Mounts the overlay and runs the command in it. Uses pivot_root, because the kernel does not allow a chrooted process to create
/// user namespaces. If the release's compiler is too old, the host's comes first in the search path. CI is set so that no test
/// is skipped.
const ENTER: &str = r#"
debian=$1 overlay=$2 crates=$3 rust=$4
shift 4
cd "$overlay"
mount -t overlay -o "lowerdir=$debian,upperdir=$overlay/upper,workdir=$overlay/work" fresh root
cd root
mount -t proc proc proc
mount -t sysfs sys sys
mount --rbind /dev dev
mount --bind -o ro "$crates" crates
if [ -n "$rust" ]; then mount --bind -o ro "$rust" rust; fi
pivot_root . mnt
exec chroot . sh -euc 'umount -l /mnt; cd "$HOME/tss2-tcti-rs"; exec "$@"' fresh env -i \
    PATH=/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    CI=true "$@" 2>&1
"#;

/// Settings for apt with a proxy that refuses connections: nothing listens on the discard port.
const NO_MIRRORS: &str =
    "Acquire::http::Proxy \"http://127.0.0.1:9/\";\nAcquire::https::Proxy \"http://127.0.0.1:9/\";\n";

/// Prefix of warnings by cargo and the compiler.
const WARNING: &str = "warning: ";

/// Which release to test, and how.
#[derive(Args)]
pub(crate) struct Options {
    /// A release of Debian, such as trixie.
    #[arg(long)]
    release: String,
    /// Only run this command, in the clone of the last run if it failed, otherwise in a new clone.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs the commands and stops at the first that fails.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    debian::require(project, no_install)?;
    let fresh = Fresh::prepare(project, &options.release)?;
    if !options.command.is_empty() {
        if !fresh.overlay.exists() {
            fresh.clean(project)?;
        }
        let words: Vec<&str> = options.command.iter().map(String::as_str).collect();
        return fresh.command(&words).map(drop);
    }
    fresh.clean(project)?;
    for is_repeated in [false, true] {
        if is_repeated {
            fs::write(fresh.upper("etc/apt/apt.conf.d/99no-mirrors"), NO_MIRRORS)?;
        }
        for name in ["demo", "test"] {
            let (since, words) = (Instant::now(), ["cargo", "xtask", name]);
            let printed = fresh.command(&words)?;
            let line_with = |start: &str| printed.lines().find(|line| line.starts_with(start));
            let warning = line_with(WARNING);
            ensure!(warning.is_none(), "the release's compiler reports: {}", warning.unwrap_or_default());
            let missing = line_with(needs::MISSING);
            ensure!(
                !is_repeated || missing.is_none(),
                "the second run of {} reports: {}",
                words.join(" "),
                missing.unwrap_or_default()
            );
            let when = if is_repeated { "second run, without mirrors" } else { "first run" };
            println!(
                "{} on Debian {}, {when}: {:.0} s",
                words.join(" "),
                options.release,
                since.elapsed().as_secs_f32()
            );
        }
    }
    fs::remove_dir_all(&fresh.overlay).with_context(|| format!("cannot remove {}", fresh.overlay.display()))
}

/// A chroot and the overlay on top of it.
struct Fresh {
    debian: PathBuf,
    overlay: PathBuf,
    crates: PathBuf,
    /// The host's Rust toolchain; `None` if the release's compiler is recent enough.
    rust: Option<PathBuf>,
    log: PathBuf,
}

impl Fresh {
    fn prepare(project: &Project, release: &str) -> Result<Fresh> {
        let debian = Debian::of(project, release, CHROOT)?.prepare(project)?;
        let dir = project.target.join("fresh");
        let (overlay, crates, log) = (dir.join(release), dir.join(CRATES), dir.join(format!("{release}.log")));
        fs::create_dir_all(&dir)?;
        let shell = project.shell()?;
        let shown = cmd!(shell, "chroot {debian} rustc --version").quiet().read()?;
        let is_old = version(&shown) < version(&format!("rustc {}", project.workspace_package("rust-version")?));
        let rust = if is_old { Some(cmd!(shell, "rustc --print sysroot").quiet().read()?.into()) } else { None };
        Ok(Fresh { debian, overlay, crates, rust, log })
    }

    /// Returns where a file of the chroot is stored in the overlay.
    fn upper(&self, path: &str) -> PathBuf {
        self.overlay.join("upper").join(path)
    }

    /// Creates an empty overlay with a new clone, and vendors the crates.
    fn clean(&self, project: &Project) -> Result<()> {
        if self.overlay.exists() {
            fs::remove_dir_all(&self.overlay).with_context(|| format!("cannot remove {}", self.overlay.display()))?;
        }
        for dir in ["upper/root/.cargo", "upper/etc/apt/apt.conf.d", "upper/crates", "upper/rust", "work", "root"] {
            fs::create_dir_all(self.overlay.join(dir))?;
        }
        fs::write(&self.log, "")?;
        let (shell, clone, crates, root) = (project.shell()?, self.upper(CLONE), &self.crates, &project.root);
        cmd!(shell, "git clone --quiet --no-hardlinks {root} {clone}").quiet().run()?;
        cmd!(shell, "cargo vendor --quiet --locked --versioned-dirs {crates}").quiet().ignore_stdout().run()?;
        let settings = format!(
            "[source.crates-io]\nreplace-with = \"{CRATES}\"\n\n[source.{CRATES}]\ndirectory = \"/{CRATES}\"\n"
        );
        Ok(fs::write(self.upper("root/.cargo/config.toml"), settings)?)
    }

    /// Runs a command in the clone, prints its output, appends it to the log and returns it.
    fn command(&self, words: &[&str]) -> Result<String> {
        let [program, arguments @ ..] = IN_NAMESPACES;
        let mut command = Command::new(program);
        command.args(arguments).args(["sh", "-euc", ENTER, "fresh"]);
        command.args([&self.debian, &self.overlay, &self.crates]).arg(self.rust.as_deref().unwrap_or(Path::new("")));
        let mut child = command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut log = File::options().append(true).create(true).open(&self.log)?;
        let mut printed = String::new();
        for line in BufReader::new(child.stdout.take().context("no stdout")?).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned() + "\n";
            print!("{line}");
            log.write_all(line.as_bytes())?;
            printed += &line;
        }
        let status = child.wait()?;
        ensure!(status.success(), "{} failed: {status}; see {}", words.join(" "), self.log.display());
        Ok(printed)
    }
}

/// Parses the major and minor version from the output of `rustc --version`.
fn version(shown: &str) -> Option<(u32, u32)> {
    let mut numbers = shown.strip_prefix("rustc ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_versions_are_compared_numerically() {
        assert!(version("rustc 1.9.0 (abc 2016-05-23)") < version("rustc 1.85"));
        assert!(version("rustc 1.85.1 (4eb161250 2025-03-15) (built from a source tarball)") >= version("rustc 1.85"));
        assert!(version("no compiler") < version("rustc 1.85"));
    }
}
