// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask fresh`: what a new user does. A clone of the commit that is checked out, in a Debian with a compiler and nothing
//! else, and there both commands of the README; then both again while apt cannot reach its mirrors, because by then nothing may
//! be missing. The Debian stays as it is: everything happens in a layer over it.

use crate::consumers;
use crate::debian::{Debian, IN_NAME_SPACES, Purpose};
use crate::needs;
use crate::project::Project;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use xshell::cmd;

/// Where the clone is, and the crates.
const CLONE: &str = "root/tss2-tcti-rs";
const CRATES: &str = "crates";

/// Makes a root of the Debian and the layer, and goes there for good: with a mere chroot, programs could not make name spaces of
/// users. The compiler of this machine comes first where the release's own is too old. With `CI` no test is skipped.
const ENTER: &str = r#"
debian=$1 layer=$2 crates=$3 rust=$4
shift 4
cd "$layer"
mount -t overlay -o "lowerdir=$debian,upperdir=$layer/upper,workdir=$layer/work" fresh root
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

/// A proxy that refuses connections: the port for discarding, at which nothing listens.
const CUT: &str = "Acquire::http::Proxy \"http://127.0.0.1:9/\";\nAcquire::https::Proxy \"http://127.0.0.1:9/\";\n";

/// How a warning of cargo or the compiler begins.
const WARNING: &str = "warning: ";

/// Which release, and what to do there.
#[derive(Args)]
pub(crate) struct Options {
    /// A release of Debian that debootstrap knows.
    #[arg(long)]
    release: String,
    /// Runs this in what the last run left, or in a new clone, and nothing else.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Fails at the first command that fails.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    needs::install(project, needs::CONSUMERS, no_install)?;
    if let Some(reason) = consumers::unavailable(project)? {
        bail!("there can be no fresh Debian here: {reason}");
    }
    let fresh = Fresh::prepare(project, &options.release)?;
    if !options.command.is_empty() {
        if !fresh.layer.exists() {
            fresh.clean(project)?;
        }
        let words: Vec<&str> = options.command.iter().map(String::as_str).collect();
        return fresh.command(&words).map(drop);
    }
    fresh.clean(project)?;
    for is_cut in [false, true] {
        if is_cut {
            fs::write(fresh.upper("etc/apt/apt.conf.d/99cut"), CUT)?;
        }
        for name in ["demo", "test"] {
            let (since, words) = (Instant::now(), ["cargo", "xtask", name]);
            let printed = fresh.command(&words)?;
            let line_with = |start: &str| printed.lines().find(|line| line.starts_with(start));
            let warning = line_with(WARNING);
            ensure!(warning.is_none(), "the release's compiler says: {}", warning.unwrap_or_default());
            let asked = line_with(needs::MISSING);
            ensure!(
                !is_cut || asked.is_none(),
                "the second time, {} says: {}",
                words.join(" "),
                asked.unwrap_or_default()
            );
            let when = if is_cut { "again, without apt's mirrors" } else { "the first time" };
            println!(
                "{} on a fresh Debian {}, {when}: {:.0} s",
                words.join(" "),
                options.release,
                since.elapsed().as_secs_f32()
            );
        }
    }
    fs::remove_dir_all(&fresh.layer).with_context(|| format!("cannot remove {}", fresh.layer.display()))
}

/// A Debian, and the layer over it.
struct Fresh {
    debian: PathBuf,
    layer: PathBuf,
    crates: PathBuf,
    /// This machine's compiler, where that of the release is too old.
    rust: Option<PathBuf>,
    log: PathBuf,
}

impl Fresh {
    fn prepare(project: &Project, release: &str) -> Result<Fresh> {
        let debian = Debian::of(project, release, Purpose::Fresh)?.prepare(project)?;
        let dir = project.target.join("fresh");
        let (layer, crates, log) = (dir.join(release), dir.join(CRATES), dir.join(format!("{release}.log")));
        fs::create_dir_all(&dir)?;
        let shell = project.shell()?;
        let shown = cmd!(shell, "chroot {debian} rustc --version").quiet().read()?;
        let is_old = version(&shown) < version(&format!("rustc {}", project.workspace_package("rust-version")?));
        let rust = if is_old { Some(cmd!(shell, "rustc --print sysroot").quiet().read()?.into()) } else { None };
        Ok(Fresh { debian, layer, crates, rust, log })
    }

    /// A path of the layer.
    fn upper(&self, path: &str) -> PathBuf {
        self.layer.join("upper").join(path)
    }

    /// An empty layer with the clone in it, and the crates, which come from where cargo takes them here.
    fn clean(&self, project: &Project) -> Result<()> {
        if self.layer.exists() {
            fs::remove_dir_all(&self.layer).with_context(|| format!("cannot remove {}", self.layer.display()))?;
        }
        for dir in ["upper/root/.cargo", "upper/etc/apt/apt.conf.d", "upper/crates", "upper/rust", "work", "root"] {
            fs::create_dir_all(self.layer.join(dir))?;
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

    /// Runs a command in the clone; gives what it printed, which is shown meanwhile and goes to the log.
    fn command(&self, words: &[&str]) -> Result<String> {
        let [program, arguments @ ..] = IN_NAME_SPACES;
        let mut command = Command::new(program);
        command.args(arguments).args(["sh", "-euc", ENTER, "fresh"]);
        command.args([&self.debian, &self.layer, &self.crates]).arg(self.rust.as_deref().unwrap_or(Path::new("")));
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
        ensure!(status.success(), "{} failed: {status}, see {}", words.join(" "), self.log.display());
        Ok(printed)
    }
}

/// Major and minor of what a compiler prints.
fn version(shown: &str) -> Option<(u32, u32)> {
    let mut numbers = shown.strip_prefix("rustc ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_compared_by_number() {
        assert!(version("rustc 1.9.0 (abc 2016-05-23)") < version("rustc 1.85"));
        assert!(version("rustc 1.85.1 (4eb161250 2025-03-15) (built from a source tarball)") >= version("rustc 1.85"));
        assert!(version("no compiler") < version("rustc 1.85"));
    }
}
