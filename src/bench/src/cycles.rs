// SPDX-License-Identifier: BSD-2-Clause
//! A context is made and finalized thousands of times: how long that takes, and what of it stays in the process. Each
//! library has a process of its own, which does so many as its standard input says; they have their turns.

use crate::again;
use crate::cell::{self, or_dash};
use crate::measure::{alternate, timed};
use crate::servers::Case;
use crate::subject::Library;
use anyhow::{Context, Result, anyhow, ensure};
use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tcti_loader::Module;

/// Prints the table.
pub(crate) fn print(cases: &[Case], cycles: usize) -> Result<()> {
    let text = str::to_owned;
    for (index, case) in cases.iter().enumerate() {
        if index == 0 {
            let of_all = |what: &str| {
                let theirs = case.versions().map(move |version| format!("{what} C {version}"));
                [format!("{what} ours")].into_iter().chain(theirs).collect::<Vec<_>>()
            };
            let cells = ["connection", "contexts", "ours"].map(text).into_iter();
            let cells = cells.chain(cell::versions(case.versions()));
            let cells = cells.chain(of_all("KiB")).chain(of_all("descriptors"));
            println!("{}", cell::head(&cells.collect::<Vec<_>>()));
        }
        print_case(case, cycles)?;
    }
    Ok(())
}

fn print_case(case: &Case, cycles: usize) -> Result<()> {
    let libraries: Vec<Option<Library>> = [Some(case.ours())].into_iter().chain(case.theirs()).collect();
    let carrier = case.carrier()?;
    let mut processes: Vec<Option<Process>> = Vec::new();
    for library in &libraries {
        processes.push(library.as_ref().map(|library| Process::start(library, carrier.as_deref())).transpose()?);
    }
    let turn = cycles.div_ceil(TURNS);
    // What a library keeps from its first context on does not grow.
    let mut before: Vec<Option<Holdings>> = Vec::new();
    for process in &mut processes {
        before.push(process.as_mut().map(|process| process.cycle(turn)).transpose()?.map(|(_, holdings)| holdings));
    }
    let mut after = before.clone();
    let times = alternate(TURNS, processes.len(), |number| {
        let Some(process) = processes.get_mut(number).and_then(Option::as_mut) else { return Ok(Vec::new()) };
        let (times, holdings) = process.cycle(turn)?;
        if let Some(after) = after.get_mut(number) {
            *after = Some(holdings);
        }
        Ok::<_, anyhow::Error>(times)
    })?;
    let growth: Vec<Option<Holdings>> =
        before.iter().zip(&after).map(|(before, after)| Some(after.as_ref()?.since(before.as_ref()?))).collect();
    let ours = times.first().context("no times")?;
    let present = libraries.iter().zip(&times).map(|(library, times)| library.as_ref().map(|_| times));
    let grown = |figure: fn(&Holdings) -> i64| growth.iter().map(move |grown| or_dash(grown.as_ref().map(figure)));
    let names = [case.name.clone(), (turn * TURNS).to_string(), ours.to_string()].into_iter();
    let cells = names.chain(cell::compared(ours, present.skip(1)));
    let cells = cells.chain(grown(|grown| grown.memory)).chain(grown(|grown| grown.descriptors));
    println!("{}", cell::row(&cells.collect::<Vec<_>>()));
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
    fn start(library: &Library, carrier: Option<&Path>) -> Result<Process> {
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
