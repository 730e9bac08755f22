// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask everywhere`: every system and every architecture, which takes hours and is for a release, not for each change.
//! [`run`] writes the table that readers see, whatever failed, and a part of it where only a part is run.

use crate::project::Project;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use xshell::{Shell, cmd};

/// The document that readers of the repository see.
const DOCUMENT: &str = "docs/platforms.md";

const INTRODUCTION: &str = "\
Written by `cargo xtask everywhere`: each row is a command of this project, run on one machine with x86-64 and Debian 12. Other
releases of Debian are made by debootstrap, other architectures are emulated by qemu-user with the packages of Debian 13 or, where
its mirror lacks some, of sid. What each command does is told in CONTRIBUTING.md. A result is the last one of its row, with how long
it took, the day and the commit.
";

const HEAD: &str = "| system | architecture | command | result |\n|---|---|---|---|\n";

/// A row: a system, an architecture, and the command that tries us there.
struct Row {
    system: &'static str,
    architecture: &'static str,
    words: &'static [&'static str],
}

impl Row {
    fn command(&self) -> String {
        format!("cargo xtask {}", self.words.join(" "))
    }

    fn is_named(&self, part: &str) -> bool {
        self.command().contains(part)
    }

    /// The line of the table up to the result.
    fn start(&self) -> String {
        format!("| {} | {} | `{}` | ", self.system, self.architecture, self.command())
    }
}

const fn row(system: &'static str, architecture: &'static str, words: &'static [&'static str]) -> Row {
    Row { system, architecture, words }
}

const ROWS: [Row; 17] = [
    row("Debian 12, fresh", "amd64", &["fresh", "--release", "bookworm"]),
    row("Debian 13, fresh", "amd64", &["fresh", "--release", "trixie"]),
    row("Debian 12, packages", "amd64", &["deb", "--release", "bookworm"]),
    row("Debian 12, programs on them", "amd64", &["consumers", "--release", "bookworm"]),
    row("Debian 13, packages", "amd64", &["deb", "--release", "trixie"]),
    row("Debian 13, programs on them", "amd64", &["consumers", "--release", "trixie"]),
    row("Debian 12 to 13", "amd64", &["consumers", "--release", "bookworm", "--upgrade", "trixie"]),
    row("Debian sid, packages", "amd64", &["deb", "--release", "sid"]),
    row("Debian sid, programs on them", "amd64", &["consumers", "--release", "sid"]),
    row("Debian 13", "amd64", &["arch", "amd64"]),
    row("Debian 13", "arm64", &["arch", "arm64"]),
    row("Debian 13", "armhf", &["arch", "armhf"]),
    row("Debian 13", "i386", &["arch", "i386"]),
    row("Debian 13", "riscv64", &["arch", "riscv64"]),
    row("Debian 13", "ppc64el", &["arch", "ppc64el"]),
    row("Debian sid", "s390x", &["arch", "s390x"]),
    row("musl of Debian 13", "amd64", &["arch", "musl"]),
];

/// What is not tried, and why.
const GREY: [[&str; 3]; 3] = [
    ["Fedora", "all", "packages are built by `cargo xtask rpm` on Debian; there is no Fedora to install them on here"],
    ["Alpine", "all", "only what musl alone can show; there is no mirror of Alpine here"],
    ["real hardware", "arm64, armhf", "only emulated; see [A TPM on a Raspberry Pi](raspberry-pi.md)"],
];

/// Which rows.
#[derive(Args)]
pub(crate) struct Options {
    /// Only the rows whose command has this in it, such as `trixie` or `arch riscv64`; the others keep their last result.
    #[arg(default_value = "")]
    part: String,
}

/// Fails when a row does, after all of them have run and the document is written.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let logs = project.target.join("everywhere");
    fs::create_dir_all(&logs)?;
    let document = project.root.join(DOCUMENT);
    let mut failed = Vec::new();
    ensure!(ROWS.iter().any(|row| row.is_named(&options.part)), "no row has {:?} in its command", options.part);
    for row in ROWS.iter().filter(|row| row.is_named(&options.part)) {
        println!("{}", row.command());
        let since = Instant::now();
        let log = logs.join(format!("{}.log", row.words.join("-").replace("--", "")));
        let passed = passes(project, row.words, &log)?;
        let minutes = since.elapsed().as_secs_f32() / 60.0;
        let result = if passed { "passed" } else { "FAILED" };
        println!("{result} in {minutes:.0} min, see {}", log.display());
        let last = format!("{result}, {minutes:.0} min, {}", revision(project)?);
        // After each, since all of them take hours.
        let before = if document.exists() { fs::read_to_string(&document)? } else { String::new() };
        fs::write(&document, written(&before, row, &last)).context(DOCUMENT)?;
        failed.extend((!passed).then(|| row.command()));
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("; "));
    }
    Ok(())
}

/// Whether there is anything that is not committed, but for the document: it is written while rows are run.
pub(crate) fn has_changes(shell: &Shell) -> Result<bool> {
    let not_this = format!(":!{DOCUMENT}");
    Ok(!cmd!(shell, "git status --porcelain -- . {not_this}").quiet().read()?.is_empty())
}

/// Day and commit.
fn revision(project: &Project) -> Result<String> {
    let shell = project.shell()?;
    let commit = cmd!(shell, "git rev-parse --short HEAD").quiet().read()?;
    let date = cmd!(shell, "date +%F").quiet().read()?;
    Ok(format!("{date}, {commit}{}", if has_changes(&shell)? { " and changes" } else { "" }))
}

/// The document after a row has run; the other rows are as they were.
fn written(before: &str, run: &Row, result: &str) -> String {
    let mut text = format!("# Where it runs\n\n{INTRODUCTION}\n{HEAD}");
    for row in &ROWS {
        let start = row.start();
        let old = before.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix(" |"));
        let last = if row.words == run.words { result } else { old.unwrap_or("not run yet") };
        text += &format!("{start}{last} |\n");
    }
    for [system, architecture, why] in GREY {
        text += &format!("| {system} | {architecture} | | not run: {why} |\n");
    }
    text
}

/// Runs this program with these words, as somebody would, and nothing may be skipped.
fn passes(project: &Project, words: &[&str], log: &Path) -> Result<bool> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(env::current_exe()?);
    command.args(words).current_dir(&project.root).env("CI", "true").stdout(file.try_clone()?).stderr(file);
    Ok(command.status().context("cannot run it again")?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_runs_again_leaves_the_others_as_they_were() {
        let [first, second, ..] = &ROWS;
        let one = written("", first, "passed, 3 min");
        let both = written(&one, second, "FAILED, 4 min");
        assert!(both.contains(&format!("`{}` | passed, 3 min |\n", first.command())), "{both}");
        assert!(both.contains(&format!("`{}` | FAILED, 4 min |\n", second.command())), "{both}");
        assert_eq!(both.matches("not run yet").count(), ROWS.len() - 2);
        assert_eq!(written(&both, second, "FAILED, 4 min"), both);
    }
}
