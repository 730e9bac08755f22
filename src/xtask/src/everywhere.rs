// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask everywhere`: every system and every architecture, which takes hours and is for a release, not for each change.
//! [`run`] writes the table that readers see, whatever failed.

use crate::project::Project;
use anyhow::{Context, Result, bail};
use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use xshell::cmd;

/// The document that readers of the repository see.
const DOCUMENT: &str = "docs/platforms.md";

const INTRODUCTION: &str = "\
Written by `cargo xtask everywhere`: each row is a command of this project, run on one machine with x86-64 and Debian 12. Other
releases of Debian are made by debootstrap, other architectures are emulated by qemu-user with the packages of Debian 13 or, where
its mirror lacks some, of sid. What each command does is told in CONTRIBUTING.md.
";

/// A row: a system, an architecture, and the command that tries us there.
struct Row {
    system: &'static str,
    architecture: &'static str,
    words: &'static [&'static str],
}

const fn row(system: &'static str, architecture: &'static str, words: &'static [&'static str]) -> Row {
    Row { system, architecture, words }
}

const ROWS: [Row; 17] = [
    row("Debian 12", "amd64", &["test"]),
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
];

/// What is not tried, and why.
const GREY: [[&str; 3]; 3] = [
    ["Fedora", "all", "packages are built by `cargo xtask rpm` on Debian; there is no Fedora to install them on here"],
    ["musl", "all", "the toolchains here have no libstd for it"],
    ["real hardware", "arm64, armhf", "only emulated; see [A TPM on a Raspberry Pi](raspberry-pi.md)"],
];

/// Fails when a row does, after all of them have run and the document is written.
pub(crate) fn run(project: &Project) -> Result<()> {
    let logs = project.target.join("everywhere");
    fs::create_dir_all(&logs)?;
    let shell = project.shell()?;
    let commit = cmd!(shell, "git describe --always --dirty").quiet().read()?;
    let date = cmd!(shell, "date +%F").quiet().read()?;
    let mut table = "| system | architecture | command | result |\n|---|---|---|---|\n".to_owned();
    let mut failed = Vec::new();
    for row in &ROWS {
        let command = format!("cargo xtask {}", row.words.join(" "));
        println!("{command}");
        let since = Instant::now();
        let log = logs.join(format!("{}.log", row.words.join("-").replace("--", "")));
        let passed = passes(project, row.words, &log)?;
        let minutes = since.elapsed().as_secs_f32() / 60.0;
        let result = if passed { "passed" } else { "FAILED" };
        println!("{result} in {minutes:.0} min, see {}", log.display());
        table += &format!("| {} | {} | `{command}` | {result}, {minutes:.0} min |\n", row.system, row.architecture);
        failed.extend((!passed).then_some(command));
    }
    for [system, architecture, why] in GREY {
        table += &format!("| {system} | {architecture} | | not run: {why} |\n");
    }
    let text = format!("# Where it runs\n\n{INTRODUCTION}\nOn {date}, at {commit}:\n\n{table}");
    fs::write(project.root.join(DOCUMENT), text).context(DOCUMENT)?;
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("; "));
    }
    Ok(())
}

/// Runs this program with these words, as somebody would, and nothing may be skipped.
fn passes(project: &Project, words: &[&str], log: &Path) -> Result<bool> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(env::current_exe()?);
    command.args(words).current_dir(&project.root).env("CI", "true").stdout(file.try_clone()?).stderr(file);
    Ok(command.status().context("cannot run it again")?.success())
}
