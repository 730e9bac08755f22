// SPDX-License-Identifier: BSD-2-Clause
//! The program of `tests/soak` on every module, as many at a time as there are processors: those of this machine, and in
//! virtual machines those that need a kernel of their own. Ends with a table.

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

/// How much.
#[derive(Args)]
pub(crate) struct Options {
    /// How long each part runs.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// So many commands through each module instead, and nothing in virtual machines.
    #[arg(long, conflicts_with = "minutes")]
    commands: Option<u64>,
    /// What all decisions follow from. It is printed; with it a run can be repeated.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this; usb is the stick behind the kernel's USB stack.
    #[arg(long, value_parser = ["swtpm", "mssim", "libtpms", "cmd", "stick", "usb", "device"])]
    only: Option<String>,
}

/// What runs here.
const HERE: [&str; 5] = ["swtpm", "mssim", "libtpms", "cmd", "stick"];
/// What runs in a virtual machine, and whether that has a TPM.
const THERE: [(&str, bool); 2] = [("usb", false), ("device", true)];
/// Seconds that a part may take besides, a machine to boot, all to end.
const SPARE: u64 = 300;
/// Commands per second that any module gets through.
const SLOWEST: u64 = 20;
/// Processes beside that of libtpms, each with a row.
const BESIDE: usize = 2;
/// The exit status of timeout(1) when it has ended a program.
const TIMED_OUT: i32 = 124;

/// One part of the whole.
struct Part<'a> {
    /// Where it stands in the table.
    row: usize,
    what: &'a str,
    program: &'a Path,
    /// Where its log goes.
    files: &'a Path,
    /// Whether it needs a virtual machine, and if that has a TPM.
    machine: Option<bool>,
    /// Seconds after which it hangs.
    limit: u64,
    arguments: Vec<String>,
    environment: &'a [(String, String)],
}

/// Builds all and runs it.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    needs::install(project, &[needs::SOAK, needs::VM].concat(), no_install)?;
    let stage = install::stage(project)?;
    let built = compile::release(project, ["tss2-soak", "sim-mssim", "sim-tpm2go"])?;
    let program = built.join("soak");
    // Programs in C, and logs; those of the run before go.
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
    // A function, so that the lock is not held while the part runs.
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

/// What the program, and the servers and programs that it starts, find.
fn environment(stage: &Path, built: &Path, programs: &Path) -> Vec<(String, String)> {
    let libraries = stage.join("lib");
    let paths: [(&str, &Path); 4] =
        [("TSS2_STAGE", stage), ("TSS2_SIM", built), ("TSS2_PROGRAMS", programs), ("LD_LIBRARY_PATH", &libraries)];
    let mut environment: Vec<(String, String)> =
        paths.iter().map(|(name, path)| ((*name).to_owned(), path.display().to_string())).collect();
    // Bytes of the heap are counted, and what the allocator keeps for each thread would count as used.
    let others = [("TSS2_LOG", "all+error"), ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")];
    environment.extend(others.map(|(name, value)| (name.to_owned(), value.to_owned())));
    environment
}

impl Part<'_> {
    /// Its rows.
    fn run(&self, project: &Project, kernel: Option<&Kernel>) -> Result<String> {
        match (self.machine, kernel) {
            (Some(tpm), Some(kernel)) => self.there(kernel, Machine { tpm, ..vm::machine(project, self.limit) }),
            _ => self.here(),
        }
    }

    /// Runs it on this machine, its files in memory where that is possible: libtpms syncs its state with each command.
    /// However it ends, nothing of them stays.
    fn here(&self) -> Result<String> {
        let memory = PathBuf::from("/dev/shm");
        let files = match memory.is_dir() {
            true => tempfile::tempdir_in(memory)?,
            false => tempfile::tempdir()?,
        };
        // Each fault is a line.
        let log = self.files.join(format!("{}.log", self.what));
        let mut command = Command::new("timeout");
        // In the foreground it ends with us.
        command.args(["--foreground", "--kill-after=10", &self.limit.to_string()]).arg(self.program);
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        command.env("TSS2_LOGFILE", log).env("TMPDIR", files.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let output = command.spawn()?.wait_with_output()?;
        let status = match output.status.code() {
            Some(TIMED_OUT) => format!("a hang: not at its end after {} s", self.limit),
            _ => output.status.to_string(),
        };
        self.rows(&output.stdout, output.status.success(), &status)
    }

    /// Runs it in a machine.
    fn there(&self, kernel: &Kernel, mut machine: Machine) -> Result<String> {
        machine.environment.extend(self.environment.iter().cloned());
        machine.environment.push(("TSS2_LOGFILE".to_owned(), format!("/tmp/soak-{}.log", self.what)));
        let words = [&[self.program.display().to_string()], &self.arguments[..]].concat();
        let mut printed = Vec::new();
        let ended = machine.run(kernel, &words, &mut printed);
        let ended = ended.with_context(|| format!("printed:\n{}", String::from_utf8_lossy(&printed)));
        let status = ended?;
        // On this machine it goes to stderr at once.
        String::from_utf8_lossy(&printed)
            .lines()
            .filter(|line| line.starts_with("soak: "))
            .for_each(|line| eprintln!("{}", line.trim_end()));
        self.rows(&printed, status == 0, &format!("exit status {status}"))
    }

    /// What it printed for the table. Without a row for each process nobody knows what it did, however it ended.
    fn rows(&self, printed: &[u8], good: bool, status: &str) -> Result<String> {
        let printed = String::from_utf8_lossy(printed);
        // What else a machine prints is on the same line.
        let rows: Vec<&str> = printed.lines().filter(|line| line.starts_with('|')).map(str::trim_end).collect();
        let wanted = if self.what == "libtpms" { 1 + BESIDE } else { 1 };
        ensure!(good && rows.len() == wanted, "{status}, {} rows of {wanted}:\n{printed}", rows.len());
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
    fn rows_are_what_begins_with_a_bar() {
        assert_eq!(rows("usb", "boots\n| usb | 1 |\r\nends\n", true).as_deref(), Some("| usb | 1 |\n"));
        assert_eq!(rows("libtpms", "|1|\n|2|\n|3|\n", true).as_deref(), Some("|1|\n|2|\n|3|\n"));
    }

    #[test]
    fn a_success_that_says_too_little_is_a_failure() {
        assert_eq!(rows("device", "[   9.1] tpm tpm0: a message of the kernel| device | 1 |\n", true), None);
        assert_eq!(rows("libtpms", "|1|\n|2|\n", true), None);
        assert_eq!(rows("usb", "| usb | 1 |\n", false), None);
    }
}
