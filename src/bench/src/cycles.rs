// SPDX-License-Identifier: BSD-2-Clause
//! A context is made and finalized thousands of times: how long that takes, and what of it stays in the process. Each
//! library has a process of its own, which does so many as its standard input says; they have their turns.

use crate::cell::{or_dash, ratio};
use crate::measure::{alternate, timed};
use crate::servers::Case;
use crate::subject::Library;
use anyhow::{Context, Result, anyhow, ensure};
use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tcti_loader::Module;

/// Prints the table.
pub(crate) fn print(cases: &[Case], cycles: usize) -> Result<()> {
    println!(
        "| connection | contexts | ours | C module | ratio | memory ours, KiB | memory C, KiB | descriptors ours | \
         descriptors C |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for case in cases {
        let libraries = [Some(case.ours()), case.theirs()];
        let start = |library| Process::start(library, case.carrier());
        let mut processes = libraries.iter().flatten().map(start).collect::<Result<Vec<_>>>()?;
        let turn = cycles.div_ceil(TURNS);
        // What a library keeps from its first context on does not grow.
        let before = processes.iter_mut().map(|process| Ok(process.cycle(turn)?.1)).collect::<Result<Vec<_>>>()?;
        let mut after: Vec<Holdings> = before.clone();
        let times = alternate(TURNS, processes.len(), |number| {
            let (times, holdings) = processes.get_mut(number).context("no such process")?.cycle(turn)?;
            if let Some(after) = after.get_mut(number) {
                *after = holdings;
            }
            Ok::<_, anyhow::Error>(times)
        })?;
        let growth: Vec<Holdings> = before.iter().zip(&after).map(|(before, after)| after.since(before)).collect();
        let (ours, theirs) = (times.first().context("no times")?, times.get(1));
        let (grown, grown_theirs) = (growth.first().context("no growth")?, growth.get(1));
        println!(
            "| {} | {} | {ours} | {} | {} | {} | {} | {} | {} |",
            case.name,
            turn * TURNS,
            or_dash(theirs),
            ratio(theirs.map(|theirs| ours.ratio(theirs))),
            grown.memory,
            or_dash(grown_theirs.map(|grown| grown.memory)),
            grown.descriptors,
            or_dash(grown_theirs.map(|grown| grown.descriptors)),
        );
    }
    Ok(())
}

/// Turns of each process.
const TURNS: usize = 50;

/// What a process holds.
#[derive(Clone)]
struct Holdings {
    /// Resident, in KiB.
    memory: i64,
    descriptors: i64,
}

impl Holdings {
    fn of_this_process() -> Result<Holdings> {
        let status = fs::read_to_string("/proc/self/status")?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let memory = memory.trim().trim_end_matches(" kB").parse()?;
        let descriptors = i64::try_from(fs::read_dir("/proc/self/fd")?.count())?;
        Ok(Holdings { memory, descriptors })
    }

    fn since(&self, before: &Holdings) -> Holdings {
        Holdings { memory: self.memory - before.memory, descriptors: self.descriptors - before.descriptors }
    }
}

/// A process that cycles one library.
struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(library: &Library, carrier: Option<PathBuf>) -> Result<Process> {
        let mut child = Command::new(std::env::current_exe()?)
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

    fn cycle(&mut self, count: usize) -> Result<(Vec<Duration>, Holdings)> {
        writeln!(self.stdin, "{count}")?;
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

/// The process: for each line with a number, makes and finalizes so many contexts; answers what it then holds and the
/// nanoseconds of each.
pub(crate) fn serve(library: &Library, carrier: Option<PathBuf>) -> Result<()> {
    // Else a C library, and what it needs, would be mapped and relocated anew each time.
    let load = |file: &PathBuf| -> Result<Module> {
        let name = CString::new(file.as_os_str().as_bytes())?;
        tcti_loader::load(Some(&name)).map_err(|rc| anyhow!("{rc:?}"))
    };
    let _mapped =
        [Some(&library.file), carrier.as_ref()].into_iter().flatten().map(load).collect::<Result<Vec<_>>>()?;
    for line in std::io::stdin().lines() {
        let count: usize = line?.parse()?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            times.push(timed(|| library.open().map(drop))?.0);
        }
        let Holdings { memory, descriptors } = Holdings::of_this_process()?;
        let times: Vec<String> = times.iter().map(|time| time.as_nanos().to_string()).collect();
        println!("{memory} {descriptors} {}", times.join(" "));
    }
    Ok(())
}
