// SPDX-License-Identifier: BSD-2-Clause
//! The program of `src/soak` on every module at the same time: those of this machine, and in virtual machines those that
//! need a kernel of their own. Ends with a table.

use crate::project::Project;
use crate::{compile, install, needs, vm, vm_test};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use tss2_vm::{Kernel, Machine};

/// How much.
#[derive(Args)]
pub(crate) struct Options {
    /// How long.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// So many commands through each module instead, and nothing in virtual machines.
    #[arg(long, conflicts_with = "minutes")]
    commands: Option<u64>,
    /// What all decisions follow from. It is printed; with it a run can be repeated.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this; usb is the stick behind the kernel's USB stack.
    #[arg(long, value_parser = ["swtpm", "mssim", "libtpms", "stick", "usb", "device"])]
    only: Option<String>,
}

/// What runs here.
const HERE: [&str; 4] = ["swtpm", "mssim", "libtpms", "stick"];
/// What runs in a virtual machine, and whether that has a TPM.
const THERE: [(&str, bool); 2] = [("usb", false), ("device", true)];
/// Seconds that a machine may take besides, to boot and to end.
const SPARE: u64 = 300;

/// One part of the whole.
struct Part<'a> {
    what: &'a str,
    program: &'a Path,
    arguments: Vec<String>,
    environment: &'a [(String, String)],
}

/// Builds all and runs it.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    needs::install(project, &[needs::SOAK, needs::VM].concat(), no_install)?;
    let stage = install::stage(project)?;
    let built = compile::release(project, ["tss2-soak", "sim-mssim", "sim-tpm2go"])?;
    let program = built.join("soak");
    let environment = environment(&stage, &built);
    let part = |what: &'static str| Part {
        what,
        program: &program,
        arguments: arguments(what, options),
        environment: &environment,
    };
    let wanted = |what: &str| options.only.as_deref().is_none_or(|only| only == what);

    let machines: Vec<_> = THERE.into_iter().filter(|(what, _)| options.commands.is_none() && wanted(what)).collect();
    let kernel = match !machines.is_empty() && vm_test::is_available(project)? {
        true => Some(vm::kernel(project)?),
        false => None,
    };
    let head = Command::new(&program).arg("--head").output().context("soak")?;
    let ended: Vec<Result<String>> = thread::scope(|scope| {
        let here = HERE.into_iter().filter(|what| wanted(what)).map(|what| {
            let part = part(what);
            scope.spawn(move || here(&part).with_context(|| what.to_owned()))
        });
        let mut threads: Vec<_> = here.collect();
        for (what, tpm) in machines {
            let (part, limit) = (part(what), options.minutes * 60 + SPARE);
            let machine = Machine { tpm, ..vm::machine(project, limit) };
            if let Some(kernel) = &kernel {
                threads.push(scope.spawn(move || there(&part, kernel, machine).with_context(|| what.to_owned())));
            }
        }
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked"))).collect()
    });
    print!("{}", String::from_utf8_lossy(&head.stdout));
    let mut failed = Vec::new();
    for ended in ended {
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

fn arguments(what: &str, options: &Options) -> Vec<String> {
    let mut arguments = vec![what.to_owned(), "--seconds".to_owned(), (options.minutes * 60).to_string()];
    for (name, value) in [("--commands", options.commands), ("--seed", options.seed)] {
        arguments.extend(value.into_iter().flat_map(|value| [name.to_owned(), value.to_string()]));
    }
    arguments
}

/// What the program and the servers that it starts find.
fn environment(stage: &Path, built: &Path) -> Vec<(String, String)> {
    let libraries = stage.join("lib");
    let paths: [(&str, &Path); 3] = [("TSS2_STAGE", stage), ("TSS2_SIM", built), ("LD_LIBRARY_PATH", &libraries)];
    let mut environment: Vec<(String, String)> =
        paths.iter().map(|(name, path)| ((*name).to_owned(), path.display().to_string())).collect();
    environment.push(("TSS2_LOG".to_owned(), "all+error".to_owned()));
    environment
}

/// Runs it on this machine, its files in memory where that is possible: libtpms syncs its state with each command.
fn here(part: &Part<'_>) -> Result<String> {
    let mut command = Command::new(part.program);
    command.args(&part.arguments).envs(part.environment.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::piped());
    // Each fault is a line.
    let log = part.program.with_file_name(format!("soak-{}.log", part.what));
    let _ = std::fs::remove_file(&log); // of the run before
    command.env("TSS2_LOGFILE", log);
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        command.env("TMPDIR", memory);
    }
    let output = command.spawn()?.wait_with_output()?;
    rows(&output.stdout, output.status.success(), &output.status.to_string())
}

/// Runs it in a machine.
fn there(part: &Part<'_>, kernel: &Kernel, mut machine: Machine) -> Result<String> {
    machine.environment.extend(part.environment.iter().cloned());
    machine.environment.push(("TSS2_LOGFILE".to_owned(), format!("/tmp/soak-{}.log", part.what)));
    let words = [&[part.program.display().to_string()], &part.arguments[..]].concat();
    let mut printed = Vec::new();
    let status = machine.run(kernel, &words, &mut printed)?;
    rows(&printed, status == 0, &format!("exit status {status}"))
}

fn rows(printed: &[u8], good: bool, status: &str) -> Result<String> {
    let printed = String::from_utf8_lossy(printed).into_owned();
    match good {
        // What else a machine prints is on the same line.
        true => Ok(printed
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()),
        false => bail!("{status}:\n{printed}"),
    }
}
