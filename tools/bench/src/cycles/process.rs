// SPDX-License-Identifier: BSD-2-Clause
//! A process that makes and finalizes contexts of one library, as many and in the way that each line of its standard input
//! says.

use crate::again;
use crate::measure::timed;
use crate::subject::{self, Library};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tcti_loader::Module;

/// What is timed of a context.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// Init and Finalize, one after the other.
    Both,
    /// Finalize, after one command and its response.
    End,
}

impl Part {
    const BOTH: &str = "both";
    const END: &str = "end";

    fn name(self) -> &'static str {
        match self {
            Part::Both => Part::BOTH,
            Part::End => Part::END,
        }
    }

    fn of_one_context(self, library: &Library) -> Result<Duration> {
        match self {
            Part::Both => Ok(timed(|| library.open().map(drop))?.0),
            Part::End => {
                let mut child = library.open()?;
                subject::exchange(&mut child, &mut [0; 4096], subject::Command::GetRandom.bytes())?;
                let since = Instant::now();
                drop(child);
                Ok(since.elapsed())
            }
        }
    }
}

/// What a process holds.
#[derive(Clone)]
pub(super) struct Holdings {
    /// Resident, in KiB.
    pub(super) memory: i64,
    pub(super) descriptors: i64,
}

impl Holdings {
    fn of_this_process() -> Result<Holdings> {
        let status = fs::read_to_string("/proc/self/status")?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let memory = memory.trim().trim_end_matches(" kB").parse()?;
        let descriptors = i64::try_from(fs::read_dir("/proc/self/fd")?.count())?;
        Ok(Holdings { memory, descriptors })
    }

    pub(super) fn since(&self, before: &Holdings) -> Holdings {
        Holdings { memory: self.memory - before.memory, descriptors: self.descriptors - before.descriptors }
    }
}

/// A process that cycles one library.
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub(super) fn start(library: &Library, carrier: Option<&Path>) -> Result<Process> {
        let words = again::words()?;
        let mut child = Command::new(words.first().context("no program")?)
            .args(words.get(1..).unwrap_or_default())
            .arg("cycle")
            .arg(&library.file)
            .arg(&library.conf)
            .args(carrier)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().context("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Process { child, stdin, stdout })
    }

    /// The times of so many contexts, and what the process holds after them.
    pub(super) fn cycle(&mut self, part: Part, count: usize) -> Result<(Vec<Duration>, Holdings)> {
        writeln!(self.stdin, "{} {count}", part.name())?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let mut numbers = line.split_whitespace().map(|word| word.parse::<i64>().context("no number"));
        let mut next = || numbers.next().context("the process has ended")?;
        let holdings = Holdings { memory: next()?, descriptors: next()? };
        let times =
            numbers.map(|nanos| Ok(Duration::from_nanos(u64::try_from(nanos?)?))).collect::<Result<Vec<_>>>()?;
        ensure!(times.len() == count, "{} of {count} contexts", times.len());
        Ok((times, holdings))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process: for each line with a part and a number, makes and finalizes so many contexts; answers what it then holds
/// and the nanoseconds of each.
pub(crate) fn serve(library: &Library, carrier: Option<PathBuf>) -> Result<()> {
    // Else a C library, and what it needs, would be mapped and relocated anew each time.
    let load = |file: &PathBuf| -> Result<Module> {
        let name = CString::new(file.as_os_str().as_bytes())?;
        tcti_loader::load(Some(&name)).map_err(|rc| anyhow!("{rc:?}"))
    };
    let _mapped =
        [Some(&library.file), carrier.as_ref()].into_iter().flatten().map(load).collect::<Result<Vec<_>>>()?;
    for line in std::io::stdin().lines() {
        let line = line?;
        let (part, count) = match line.split_once(' ') {
            Some((Part::BOTH, count)) => (Part::Both, count),
            Some((Part::END, count)) => (Part::End, count),
            _ => bail!("no part of a context: {line}"),
        };
        let count: usize = count.parse()?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            times.push(part.of_one_context(library)?);
        }
        let Holdings { memory, descriptors } = Holdings::of_this_process()?;
        let times: Vec<String> = times.iter().map(|time| time.as_nanos().to_string()).collect();
        println!("{memory} {descriptors} {}", times.join(" "));
    }
    Ok(())
}
