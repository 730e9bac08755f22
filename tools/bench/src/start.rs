// SPDX-License-Identifier: BSD-2-Clause
//! Measures the start of a program: the process `tpm2_getrandom 8` through tctildr and swtpm.

mod sleeping;

use crate::cell::ratio;
use crate::measure::{alternate, timed};
use crate::servers::{Selection, Theirs};
use anyhow::{Context, Result, ensure};
use sleeping::Sleeping;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use tss2_kit::server::{SocketKind, Swtpm, TestTpm};

/// The libraries under test that the program loads.
const LIBRARIES: [&str; 2] = ["libtss2-tctildr.so.0", "libtss2-tcti-swtpm.so.0"];
/// Number of processes whose memory is measured; the median counts.
const SAMPLES: usize = 9;

/// Prints the table.
pub(crate) fn print(selection: &Selection, pairs: usize) -> Result<()> {
    let tpm = Swtpm::start(SocketKind::Unix);
    // Separate directories, because the dynamic linker searches them first for every library.
    let [Theirs { version, dir }] = selection.theirs.as_slice() else {
        anyhow::bail!(
            "the program runs on the libc of this system, so exactly one version of the C libraries can be compared"
        )
    };
    let sides = [Side::new(&selection.ours, &tpm)?, Side::new(dir, &tpm)?];
    println!("| `tpm2_getrandom 8` | ours | C {version} | ratio |\n|---|---|---|---|");
    sides.iter().try_for_each(Side::run)?; // fill the page cache
    let times = alternate(pairs, sides.len(), |number| {
        let side = sides.get(number).context("no such side")?;
        Ok::<_, anyhow::Error>(vec![timed(|| side.run())?.0])
    })?;
    let [ours, theirs] = times.as_slice() else { anyhow::bail!("no times") };
    println!("| wall time, microseconds | {ours} | {theirs} | {} |", ratio(Some(ours.ratio(theirs))));
    let row = |name: &str, measure: &dyn Fn(&Side) -> Result<usize>| -> Result<()> {
        let [ours, theirs] = sides.each_ref().map(measure);
        let (ours, theirs) = (ours?, theirs?);
        println!("| {name} | {ours} | {theirs} | {} |", ratio(Some(ours as f64 / theirs as f64)));
        Ok(())
    };
    row("instructions, thousands", &Side::instructions)?;
    row("symbols bound by the dynamic linker", &Side::symbols)?;
    row("files opened", &|side| Ok(side.opened()?.0))?;
    row("attempts to open a file", &|side| Ok(side.opened()?.1))?;
    row("page faults until the first response", &|side| side.while_sleeping(|sleeping| sleeping.faults))?;
    row("largest resident memory, KiB", &|side| side.while_sleeping(|sleeping| sleeping.peak))?;
    row("private dirty memory, KiB", &|side| side.while_sleeping(|sleeping| sleeping.private_dirty))
}

/// One of the two sets of libraries that are compared.
struct Side {
    dir: TempDir,
    name_conf: String,
}

impl Side {
    fn new(libraries: &Path, tpm: &Swtpm) -> Result<Side> {
        let dir = tempfile::tempdir()?;
        for name in LIBRARIES {
            let library = libraries.join(name).canonicalize().with_context(|| format!("cannot find {name}"))?;
            symlink(library, dir.path().join(name))?;
        }
        Ok(Side { dir, name_conf: tpm.name_conf() })
    }

    /// Returns the command, prefixed by `wrapper`.
    fn command(&self, wrapper: &[&str]) -> Command {
        let words = [wrapper, &["tpm2_getrandom", "8"]].concat();
        let mut command = Command::new(words.first().copied().unwrap_or_default());
        command.args(words.get(1..).unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Set for the wrapper too, which loads other libraries.
        command.env("LD_LIBRARY_PATH", self.dir.path());
        command.env("TPM2TOOLS_TCTI", &self.name_conf);
        command
    }

    /// Runs the program.
    fn run(&self) -> Result<()> {
        stderr_of(&mut self.command(&[])).map(drop)
    }

    /// Counts instructions in thousands with valgrind, because few virtual machines have performance counters.
    fn instructions(&self) -> Result<usize> {
        let stderr = stderr_of(&mut self.command(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]))?;
        Ok(number_after(&stderr, "Collected : ")? / 1000)
    }

    /// Counts the symbols that the dynamic linker binds.
    fn symbols(&self) -> Result<usize> {
        let stderr = stderr_of(self.command(&[]).env("LD_DEBUG", "statistics"))?;
        number_after(&stderr, "final number of relocations:")
    }

    /// Counts the files that were opened, and all attempts to open a file.
    fn opened(&self) -> Result<(usize, usize)> {
        let stderr = stderr_of(&mut self.command(&["strace", "-f", "-e", "trace=open,openat"]))?;
        let calls: Vec<&str> = stderr.lines().filter(|line| line.contains("open")).collect();
        let opened: Vec<&&str> = calls.iter().filter(|line| !line.contains(" = -1 ")).collect();
        for name in LIBRARIES {
            let path = format!("\"{}\"", self.dir.path().join(name).display());
            ensure!(opened.iter().any(|line| line.contains(&path)), "{path} was not opened: {stderr}");
        }
        Ok((opened.len(), calls.len()))
    }

    /// Returns the median of a value that is measured while the program waits for its first response.
    fn while_sleeping(&self, value: impl Fn(&Sleeping) -> usize) -> Result<usize> {
        let mut values = Vec::new();
        for _ in 0..SAMPLES {
            values.push(value(&sleeping::run(|socket| {
                let mut command = self.command(&[]);
                command.env("TPM2TOOLS_TCTI", format!("swtpm:path={}", socket.display()));
                command
            })?));
        }
        values.sort_unstable();
        values.get(SAMPLES / 2).copied().context("no samples")
    }
}

/// Runs a command that must succeed, and returns its standard error.
fn stderr_of(command: &mut Command) -> Result<String> {
    let Output { status, stderr, .. } = command.output().with_context(|| format!("{:?}", command.get_program()))?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    ensure!(status.success(), "{command:?} failed: {stderr}");
    Ok(stderr)
}

/// Returns the number after a label.
fn number_after(text: &str, label: &str) -> Result<usize> {
    let rest = text.split(label).nth(1).with_context(|| format!("no {label} in {text}"))?;
    Ok(rest.split_whitespace().next().with_context(|| format!("nothing after {label}"))?.parse()?)
}
