// SPDX-License-Identifier: BSD-2-Clause
//! What it costs a program to start and to ask one thing: `tpm2_getrandom 8` through tctildr and swtpm, as a process.

mod asleep;

use crate::cell::ratio;
use crate::measure::{alternate, timed};
use crate::servers::{Parts, Theirs};
use anyhow::{Context, Result, ensure};
use asleep::Asleep;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use tss2_kit::server::{SocketKind, Swtpm, TestTpm};

/// What the program loads of us.
const LIBRARIES: [&str; 2] = ["libtss2-tctildr.so.0", "libtss2-tcti-swtpm.so.0"];
/// Processes of which the memory is looked at; the median counts.
const LOOKED_AT: usize = 9;

/// Prints the table.
pub(crate) fn print(parts: &Parts, pairs: usize) -> Result<()> {
    let tpm = Swtpm::start(SocketKind::Unix);
    // Both in a directory of their own, because the dynamic linker looks for all libraries there first.
    let [Theirs { version, dir }] = parts.theirs.as_slice() else {
        anyhow::bail!("this program starts on the libc of this machine, so it is compared with its C libraries alone")
    };
    let sides = [Side::new(&parts.ours, &tpm)?, Side::new(dir, &tpm)?];
    println!("| `tpm2_getrandom 8` | ours | C {version} | ratio |\n|---|---|---|---|");
    sides.iter().try_for_each(Side::run)?; // whatever is not in the page cache yet
    let times = alternate(pairs, sides.len(), |number| {
        let side = sides.get(number).context("no such side")?;
        Ok::<_, anyhow::Error>(vec![timed(|| side.run())?.0])
    })?;
    let [ours, theirs] = times.as_slice() else { anyhow::bail!("two sides") };
    println!("| wall time, microseconds | {ours} | {theirs} | {} |", ratio(Some(ours.ratio(theirs))));
    let row = |name: &str, figure: &dyn Fn(&Side) -> Result<usize>| -> Result<()> {
        let [ours, theirs] = sides.each_ref().map(figure);
        let (ours, theirs) = (ours?, theirs?);
        println!("| {name} | {ours} | {theirs} | {} |", ratio(Some(ours as f64 / theirs as f64)));
        Ok(())
    };
    row("instructions, thousands", &Side::instructions)?;
    row("symbols bound by the dynamic linker", &Side::symbols)?;
    row("files opened", &|side| Ok(side.opened()?.0))?;
    row("files sought", &|side| Ok(side.opened()?.1))?;
    row("page faults until the first response", &|side| side.asleep(|asleep| asleep.faults))?;
    row("largest resident memory, KiB", &|side| side.asleep(|asleep| asleep.peak))?;
    row("private dirty memory, KiB", &|side| side.asleep(|asleep| asleep.private_dirty))
}

/// One of the two sets of libraries.
struct Side {
    dir: TempDir,
    name_conf: String,
}

impl Side {
    fn new(libraries: &Path, tpm: &Swtpm) -> Result<Side> {
        let dir = tempfile::tempdir()?;
        for name in LIBRARIES {
            let library = libraries.join(name).canonicalize().with_context(|| format!("no {name}"))?;
            symlink(library, dir.path().join(name))?;
        }
        Ok(Side { dir, name_conf: tpm.name_conf() })
    }

    /// The program below `wrapper`.
    fn command(&self, wrapper: &[&str]) -> Command {
        let words = [wrapper, &["tpm2_getrandom", "8"]].concat();
        let mut command = Command::new(words.first().copied().unwrap_or_default());
        command.args(words.get(1..).unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // A wrapper is another program, and what it loads is not to be counted.
        command.env("LD_LIBRARY_PATH", self.dir.path());
        command.env("TPM2TOOLS_TCTI", &self.name_conf);
        command
    }

    fn run(&self) -> Result<()> {
        said(&mut self.command(&[])).map(drop)
    }

    /// As valgrind counts them: processors that let programs count are rare among virtual machines.
    fn instructions(&self) -> Result<usize> {
        let said = said(&mut self.command(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]))?;
        Ok(number_after(&said, "Collected : ")? / 1000)
    }

    fn symbols(&self) -> Result<usize> {
        let said = said(self.command(&[]).env("LD_DEBUG", "statistics"))?;
        number_after(&said, "final number of relocations:")
    }

    /// Files that were opened, and those that were sought.
    fn opened(&self) -> Result<(usize, usize)> {
        let said = said(&mut self.command(&["strace", "-f", "-e", "trace=open,openat"]))?;
        let calls: Vec<&str> = said.lines().filter(|line| line.contains("open")).collect();
        let opened: Vec<&&str> = calls.iter().filter(|line| !line.contains(" = -1 ")).collect();
        for name in LIBRARIES {
            let path = format!("\"{}\"", self.dir.path().join(name).display());
            ensure!(opened.iter().any(|line| line.contains(&path)), "{path} was not opened: {said}");
        }
        Ok((opened.len(), calls.len()))
    }

    fn asleep(&self, figure: impl Fn(&Asleep) -> usize) -> Result<usize> {
        let mut figures = Vec::new();
        for _ in 0..LOOKED_AT {
            figures.push(figure(&asleep::run(|socket| {
                let mut command = self.command(&[]);
                command.env("TPM2TOOLS_TCTI", format!("swtpm:path={}", socket.display()));
                command
            })?));
        }
        figures.sort_unstable();
        figures.get(LOOKED_AT / 2).copied().context("no figures")
    }
}

/// Runs it to its end, which has to be a good one; gives what it printed to standard error.
fn said(command: &mut Command) -> Result<String> {
    let Output { status, stderr, .. } = command.output().with_context(|| format!("{:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    ensure!(status.success(), "{command:?}: {said}");
    Ok(said)
}

fn number_after(text: &str, label: &str) -> Result<usize> {
    let rest = text.split(label).nth(1).with_context(|| format!("no {label} in {text}"))?;
    Ok(rest.split_whitespace().next().with_context(|| format!("nothing after {label}"))?.parse()?)
}
