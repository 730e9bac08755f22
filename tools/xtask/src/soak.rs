// SPDX-License-Identifier: BSD-2-Clause
//! Runs the program of `tests/soak` on every module, one part per processor at a time: on this machine, or in a virtual
//! machine where a module needs a kernel of its own. Prints a table at the end.

use crate::project::Project;
use crate::{compile, install, needs, vm, vm_test};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use tss2_vm::{Kernel, Machine};

/// The options of `cargo xtask soak`.
#[derive(Args)]
pub(crate) struct Options {
    /// Minutes that each part runs.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Sends this many commands through each module instead, and runs nothing in virtual machines.
    #[arg(long, conflicts_with = "minutes")]
    commands: Option<u64>,
    /// The seed of all random decisions. Each run prints its seed, with which it can be repeated.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs only this module; usb is the stick behind the kernel's USB stack.
    #[arg(long, value_parser = ["swtpm", "mssim", "libtpms", "cmd", "stick", "usb", "device"])]
    only: Option<String>,
}

/// The parts that run on this machine.
const HERE: [&str; 5] = ["swtpm", "mssim", "libtpms", "cmd", "stick"];
/// The parts that run in a virtual machine, and whether that has a TPM.
const THERE: [(&str, bool); 2] = [("usb", false), ("device", true)];
/// Additional seconds for a part, in which a machine boots and everything ends.
const SPARE: u64 = 300;
/// Commands per second that the slowest module executes.
const SLOWEST: u64 = 20;
/// Additional processes of the libtpms part, each with a row of its own.
const BESIDE: usize = 2;
/// The exit status of timeout(1) after it has killed a program.
const TIMED_OUT: i32 = 124;

/// One part of the soak.
struct Part<'a> {
    /// Its position in the table.
    row: usize,
    what: &'a str,
    program: &'a Path,
    /// The directory for its log.
    files: &'a Path,
    /// `None` without a virtual machine, otherwise whether that has a TPM.
    machine: Option<bool>,
    /// Seconds after which it counts as hung.
    limit: u64,
    arguments: Vec<String>,
    environment: &'a [(String, String)],
}

/// Builds and runs all parts.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    needs::install(project, &[needs::SOAK, needs::VM].concat(), no_install)?;
    let stage = install::stage(project)?;
    let built = compile::release(project, ["tss2-soak", "sim-mssim", "sim-tpm2go"])?;
    let program = built.join("soak");
    // The C programs and the logs. Those of the previous run are removed.
    let files = project.target.join("soak");
    if files.exists() {
        std::fs::remove_dir_all(&files)?;
    }
    std::fs::create_dir(&files)?;
    let environment = environment(&stage, &built, &files);
    let head = Command::new(&program).arg("--prepare").envs(environment.iter().cloned()).output().context("soak")?;
    ensure!(head.status.success(), "soak --prepare: {}", String::from_utf8_lossy(&head.stderr));

    let there = options.commands.is_none().then_some(THERE).into_iter().flatten();
    let parts = HERE.into_iter().map(|what| (what, None)).chain(there.map(|(what, tpm)| (what, Some(tpm))));
    let wanted = parts.filter(|(what, _)| options.only.as_deref().is_none_or(|only| only == *what));
    let limit = SPARE + options.commands.map_or(options.minutes * 60, |commands| commands / SLOWEST);
    let mut parts: VecDeque<Part<'_>> = wanted
        .enumerate()
        .map(|(row, (what, machine))| Part {
            row,
            what,
            program: &program,
            files: &files,
            machine,
            limit,
            arguments: arguments(what, options),
            environment: &environment,
        })
        .collect();
    ensure!(!parts.is_empty(), "with --commands nothing runs in virtual machines");
    let kernel = match parts.iter().any(|part| part.machine.is_some()) && vm_test::is_available(project)? {
        true => Some(vm::kernel(project)?),
        false => {
            parts.retain(|part| part.machine.is_none());
            None
        }
    };
    let (queue, ended) = (Mutex::new(parts), Mutex::new(Vec::new()));
    // A function, so that the lock is released before the part runs.
    let next = || locked(&queue).pop_front();
    let work = || {
        while let Some(part) = next() {
            let rows = part.run(project, kernel.as_ref()).with_context(|| part.what.to_owned());
            locked(&ended).push((part.row, rows));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    print!("{}", String::from_utf8_lossy(&head.stdout));
    let mut failed = Vec::new();
    let mut ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended.sort_by_key(|(row, _)| *row);
    for (_, ended) in ended {
        match ended {
            Ok(rows) => print!("{rows}"),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("{}", failed.join("; ")),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn arguments(what: &str, options: &Options) -> Vec<String> {
    let mut arguments = vec![what.to_owned(), "--seconds".to_owned(), (options.minutes * 60).to_string()];
    for (name, value) in [("--commands", options.commands), ("--seed", options.seed)] {
        arguments.extend(value.into_iter().flat_map(|value| [name.to_owned(), value.to_string()]));
    }
    arguments
}

/// Returns the environment of the program, and of the servers and programs that it starts.
fn environment(stage: &Path, built: &Path, programs: &Path) -> Vec<(String, String)> {
    let libraries = stage.join("lib");
    let paths: [(&str, &Path); 4] =
        [("TSS2_STAGE", stage), ("TSS2_SIM", built), ("TSS2_PROGRAMS", programs), ("LD_LIBRARY_PATH", &libraries)];
    let mut environment: Vec<(String, String)> =
        paths.iter().map(|(name, path)| ((*name).to_owned(), path.display().to_string())).collect();
    // The soak counts bytes of the heap. The allocator's cache per thread would count as used.
    let others = [("TSS2_LOG", "all+error"), ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")];
    environment.extend(others.map(|(name, value)| (name.to_owned(), value.to_owned())));
    environment
}

impl Part<'_> {
    /// Runs it. Returns its rows.
    fn run(&self, project: &Project, kernel: Option<&Kernel>) -> Result<String> {
        match (self.machine, kernel) {
            (Some(tpm), Some(kernel)) => self.there(kernel, Machine { tpm, ..vm::machine(project, self.limit) }),
            _ => self.here(),
        }
    }

    /// Runs it on this machine, with its files in memory where that is possible, because libtpms syncs its state after
    /// each command. The files are removed however it ends.
    fn here(&self) -> Result<String> {
        let memory = PathBuf::from("/dev/shm");
        let files = match memory.is_dir() {
            true => tempfile::tempdir_in(memory)?,
            false => tempfile::tempdir()?,
        };
        // The modules log a line for each fault.
        let log = self.files.join(format!("{}.log", self.what));
        let mut command = Command::new("timeout");
        // In the foreground, so that Ctrl-C reaches it.
        command.args(["--foreground", "--kill-after=10", &self.limit.to_string()]).arg(self.program);
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        command.env("TSS2_LOGFILE", log).env("TMPDIR", files.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let output = command.spawn()?.wait_with_output()?;
        let status = match output.status.code() {
            Some(TIMED_OUT) => format!("it hangs: not finished after {} s", self.limit),
            _ => output.status.to_string(),
        };
        self.rows(&output.stdout, output.status.success(), &status)
    }

    /// Runs it in a virtual machine.
    fn there(&self, kernel: &Kernel, mut machine: Machine) -> Result<String> {
        machine.environment.extend(self.environment.iter().cloned());
        machine.environment.push(("TSS2_LOGFILE".to_owned(), format!("/tmp/soak-{}.log", self.what)));
        let words = [&[self.program.display().to_string()], &self.arguments[..]].concat();
        let mut printed = Vec::new();
        let ended = machine.run(kernel, &words, &mut printed);
        let ended = ended.with_context(|| format!("printed:\n{}", String::from_utf8_lossy(&printed)));
        let status = ended?;
        // A part that runs on this machine prints these lines to stderr itself.
        String::from_utf8_lossy(&printed)
            .lines()
            .filter(|line| line.starts_with("soak: "))
            .for_each(|line| eprintln!("{}", line.trim_end()));
        self.rows(&printed, status == 0, &format!("exit status {status}"))
    }

    /// Returns the rows that it printed. A missing row is a failure, also after exit status 0: it would not be known
    /// what that process did.
    fn rows(&self, printed: &[u8], good: bool, status: &str) -> Result<String> {
        let printed = String::from_utf8_lossy(printed);
        // The machine's console may print to the end of a row.
        let rows: Vec<&str> = printed.lines().filter(|line| line.starts_with('|')).map(str::trim_end).collect();
        let wanted = if self.what == "libtpms" { 1 + BESIDE } else { 1 };
        ensure!(good && rows.len() == wanted, "{status}, {} of {wanted} rows:\n{printed}", rows.len());
        Ok(rows.join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(what: &str, printed: &str, good: bool) -> Option<String> {
        let path = Path::new("soak");
        let part = Part {
            row: 0,
            what,
            program: path,
            files: path,
            machine: None,
            limit: 0,
            arguments: Vec::new(),
            environment: &[],
        };
        part.rows(printed.as_bytes(), good, "exit status 0").ok()
    }

    #[test]
    fn a_row_begins_with_a_bar() {
        assert_eq!(rows("usb", "boots\n| usb | 1 |\r\nends\n", true).as_deref(), Some("| usb | 1 |\n"));
        assert_eq!(rows("libtpms", "|1|\n|2|\n|3|\n", true).as_deref(), Some("|1|\n|2|\n|3|\n"));
    }

    #[test]
    fn a_missing_row_is_a_failure() {
        assert_eq!(rows("device", "[   9.1] tpm tpm0: a message of the kernel| device | 1 |\n", true), None);
        assert_eq!(rows("libtpms", "|1|\n|2|\n", true), None);
        assert_eq!(rows("usb", "| usb | 1 |\n", false), None);
    }
}
