// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask everywhere`: runs the tests on every supported system and architecture. It takes hours and is meant for releases.
//! [`run`] updates docs/platforms.md after each row, also if the row failed.

use crate::project::Project;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use xshell::{Shell, cmd};

/// The document, relative to the root.
const DOCUMENT: &str = "docs/platforms.md";

const INTRODUCTION: &str = "\
This page is written by `cargo xtask everywhere`.
Each row is a command of this project that ran on an x86-64 machine with Debian 12.
The other releases of Debian run in chroots created by debootstrap.
The other architectures are emulated by qemu-user, with packages of Debian 13, or of sid if the
mirror lacks packages for the architecture.
docs/testing.md describes the commands.
Each result is that of the last run, with its duration, date and commit.
";

const HEAD: &str = "| system | architecture | command | result |\n|---|---|---|---|\n";

/// A row of the table: a system, an architecture and the command that tests on them.
struct Row {
    system: &'static str,
    architecture: &'static str,
    /// The arguments of `cargo xtask`.
    words: &'static [&'static str],
}

impl Row {
    fn command(&self) -> String {
        format!("cargo xtask {}", self.words.join(" "))
    }

    fn is_named(&self, part: &str) -> bool {
        self.command().contains(part)
    }

    /// Returns the line of the table up to the result.
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

/// Systems that are not tested, with the reason.
const UNTESTED: [[&str; 3]; 3] = [
    ["Fedora", "all", "`cargo xtask rpm` builds the packages on Debian, but they are not installed on Fedora"],
    ["Alpine", "all", "only musl is tested, see above"],
    ["real hardware", "arm64, armhf", "only under emulation; see [A TPM on a Raspberry Pi](raspberry-pi.md)"],
];

/// Which rows to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only rows whose command contains this text, such as `trixie` or `arch riscv64`; the others keep their results.
    #[arg(default_value = "")]
    part: String,
}

/// Runs the rows and updates the document; fails at the end if a row failed.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let logs = project.target.join("everywhere");
    fs::create_dir_all(&logs)?;
    let document = project.root.join(DOCUMENT);
    let mut failed = Vec::new();
    ensure!(
        ROWS.iter().any(|row| row.is_named(&options.part)),
        "no row has a command that contains {:?}",
        options.part
    );
    for row in ROWS.iter().filter(|row| row.is_named(&options.part)) {
        println!("{}", row.command());
        let since = Instant::now();
        let log = logs.join(format!("{}.log", row.words.join("-").replace("--", "")));
        let passed = passes(project, row.words, &log)?;
        let minutes = since.elapsed().as_secs_f32() / 60.0;
        let result = if passed { "passed" } else { "FAILED" };
        println!("{result} in {minutes:.0} min, see {}", log.display());
        let last = format!("{result}, {minutes:.0} min, {}", revision(project)?);
        // Write the document after each row, because all of them together take hours.
        let before = if document.exists() { fs::read_to_string(&document)? } else { String::new() };
        fs::write(&document, written(&before, row, &last)).context(DOCUMENT)?;
        failed.extend((!passed).then(|| row.command()));
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("; "));
    }
    Ok(())
}

/// Returns whether there are uncommitted changes. Ignores the document, which is written while rows run.
pub(crate) fn has_changes(shell: &Shell) -> Result<bool> {
    let not_this = format!(":!{DOCUMENT}");
    Ok(!cmd!(shell, "git status --porcelain -- . {not_this}").quiet().read()?.is_empty())
}

/// Returns the date and the commit.
fn revision(project: &Project) -> Result<String> {
    let shell = project.shell()?;
    let commit = cmd!(shell, "git rev-parse --short HEAD").quiet().read()?;
    let date = cmd!(shell, "date +%F").quiet().read()?;
    Ok(format!("{date}, {commit}{}", if has_changes(&shell)? { " and changes" } else { "" }))
}

/// Returns the document with the result of a row; the other rows keep their results.
fn written(before: &str, run: &Row, result: &str) -> String {
    let mut text = format!("# Tested platforms\n\n{INTRODUCTION}\n{HEAD}");
    for row in &ROWS {
        let start = row.start();
        let old = before.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix(" |"));
        let last = if row.words == run.words { result } else { old.unwrap_or("not run yet") };
        text += &format!("{start}{last} |\n");
    }
    for [system, architecture, why] in UNTESTED {
        text += &format!("| {system} | {architecture} | | not run: {why} |\n");
    }
    text
}

/// Runs `cargo xtask` with these arguments and CI set, so that nothing is skipped, and returns whether it succeeded.
fn passes(project: &Project, words: &[&str], log: &Path) -> Result<bool> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(env::current_exe()?);
    command.args(words).current_dir(&project.root).env("CI", "true").stdout(file.try_clone()?).stderr(file);
    Ok(command.status().context("cannot run xtask")?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_a_row_again_keeps_the_results_of_the_others() {
        let [first, second, ..] = &ROWS;
        let one = written("", first, "passed, 3 min");
        let both = written(&one, second, "FAILED, 4 min");
        assert!(both.contains(&format!("`{}` | passed, 3 min |\n", first.command())), "{both}");
        assert!(both.contains(&format!("`{}` | FAILED, 4 min |\n", second.command())), "{both}");
        assert_eq!(both.matches("not run yet").count(), ROWS.len() - 2);
        assert_eq!(written(&both, second, "FAILED, 4 min"), both);
    }
}
