// SPDX-License-Identifier: BSD-2-Clause
//! A process that opens and finalizes contexts of one library. Each line of its standard input requests one series of
//! contexts.

use crate::again;
use crate::connection::{self, Library};
use crate::measure::timed;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tcti_loader::Module;

/// Which part of a context's lifetime is measured.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// Init and Finalize, one after the other.
    Cycle,
    /// Finalize alone, after one command and its response.
    Finalize,
}

impl Part {
    const CYCLE: &str = "cycle";
    const FINALIZE: &str = "finalize";

    fn name(self) -> &'static str {
        match self {
            Part::Cycle => Part::CYCLE,
            Part::Finalize => Part::FINALIZE,
        }
    }

    /// Opens and finalizes one context and returns the measured time.
    fn measure(self, library: &Library) -> Result<Duration> {
        match self {
            Part::Cycle => Ok(timed(|| library.open().map(drop))?.0),
            Part::Finalize => {
                let mut child = library.open()?;
                connection::exchange(&mut child, &mut [0; 4096], connection::Command::GetRandom.bytes())?;
                let since = Instant::now();
                drop(child);
                Ok(since.elapsed())
            }
        }
    }
}

/// The resources that a process uses.
#[derive(Clone)]
pub(super) struct Usage {
    /// Resident memory in KiB.
    pub(super) memory: i64,
    /// Open file descriptors.
    pub(super) descriptors: i64,
}

impl Usage {
    fn of_this_process() -> Result<Usage> {
        let status = fs::read_to_string("/proc/self/status")?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let memory = memory.trim().trim_end_matches(" kB").parse()?;
        let descriptors = i64::try_from(fs::read_dir("/proc/self/fd")?.count())?;
        Ok(Usage { memory, descriptors })
    }

    pub(super) fn since(&self, before: &Usage) -> Usage {
        Usage { memory: self.memory - before.memory, descriptors: self.descriptors - before.descriptors }
    }
}

/// A running process, which is killed when this value is dropped.
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a process for a library. `child_module` is the module that the library loads, if any.
    pub(super) fn start(library: &Library, child_module: Option<&Path>) -> Result<Process> {
        let words = again::words()?;
        let mut child = Command::new(words.first().context("no program")?)
            .args(words.get(1..).unwrap_or_default())
            .arg("cycle")
            .arg(&library.file)
            .arg(&library.conf)
            .args(child_module)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().context("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Process { child, stdin, stdout })
    }

    /// Requests `count` contexts; returns their times and the process's resources afterwards.
    pub(super) fn cycle(&mut self, part: Part, count: usize) -> Result<(Vec<Duration>, Usage)> {
        writeln!(self.stdin, "{} {count}", part.name())?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let mut numbers = line.split_whitespace().map(|word| word.parse::<i64>().context("no number"));
        let mut next = || numbers.next().context("the process has exited")?;
        let holdings = Usage { memory: next()?, descriptors: next()? };
        let times =
            numbers.map(|nanos| Ok(Duration::from_nanos(u64::try_from(nanos?)?))).collect::<Result<Vec<_>>>()?;
        ensure!(times.len() == count, "the process reported {} of {count} contexts", times.len());
        Ok((times, holdings))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Implements the process. A line of standard input is a part and a number of contexts; the line of output contains the memory,
/// the file descriptors, and the time of each context in nanoseconds.
pub(crate) fn serve(library: &Library, child: Option<PathBuf>) -> Result<()> {
    // Keep the library loaded. Otherwise a C library and its dependencies would be mapped and relocated for each context.
    let load = |file: &PathBuf| -> Result<Module> {
        let name = CString::new(file.as_os_str().as_bytes())?;
        Ok(tcti_loader::load(Some(&name))?)
    };
    let _loaded = [Some(&library.file), child.as_ref()].into_iter().flatten().map(load).collect::<Result<Vec<_>>>()?;
    for line in std::io::stdin().lines() {
        let line = line?;
        let (part, count) = match line.split_once(' ') {
            Some((Part::CYCLE, count)) => (Part::Cycle, count),
            Some((Part::FINALIZE, count)) => (Part::Finalize, count),
            _ => bail!("malformed request: {line}"),
        };
        let count: usize = count.parse()?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            times.push(part.measure(library)?);
        }
        let Usage { memory, descriptors } = Usage::of_this_process()?;
        let times: Vec<String> = times.iter().map(|time| time.as_nanos().to_string()).collect();
        println!("{memory} {descriptors} {}", times.join(" "));
    }
    Ok(())
}
