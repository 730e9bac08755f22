// SPDX-License-Identifier: BSD-2-Clause
//! The tests in virtual machines: one machine per topic of `tests/guest`, as many at a time as there are processors.

use crate::project::Project;
use crate::vm::Layer;
use crate::{compile, install, needs, vm};
use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;
use tss2_vm::{Kernel, Machine, kernel};
use xshell::cmd;

/// Seconds for one topic, of its machine's own time.
const LIMIT: u64 = 900;
/// How many workers of servers are killed in the topic of these, when not a few in each of its tests: a number.
const KILLS: &str = "TSS2_KILLS";
/// Seconds for that, for each of them.
const KILL: u64 = 5;

/// One line of `guest-tests topics`.
struct Topic {
    name: String,
    memory: u32,
    processors: u32,
    tpm: bool,
    layer: Option<Layer>,
}

/// Builds what the tests need and runs them.
pub(crate) fn run(project: &Project, filter: Option<&str>, no_install: bool) -> Result<()> {
    needs::install(project, &[needs::VM, needs::VM_TEST].concat(), no_install)?;
    install::stage(project)?;
    test(project, filter)
}

/// Runs the tests of the package of the rules, which is in `packages`.
pub(crate) fn test_package(project: &Project, packages: &Path, no_install: bool) -> Result<()> {
    needs::install(project, &[needs::VM, needs::VM_TEST].concat(), no_install)?;
    if !is_available(project)? {
        return Ok(());
    }
    install::stage(project)?;
    let mut guest = Guest::build(project)?;
    guest.environment.push(("TSS2_PACKAGES".to_owned(), packages.display().to_string()));
    guest.test(project, Some("package::"))
}

/// Runs the tests on the stage that is there.
pub(crate) fn test(project: &Project, filter: Option<&str>) -> Result<()> {
    if !is_available(project)? {
        return Ok(());
    }
    Guest::build(project)?.test(project, filter)
}

/// Whether there can be a machine here. If not it says why, and where CI is set it fails.
pub(crate) fn is_available(project: &Project) -> Result<bool> {
    match kernel::unavailable(&vm::cache(project)) {
        None => Ok(true),
        Some(reason) => skip("the tests in virtual machines", &reason).map(|()| false),
    }
}

/// Says what is not run here and why. Where CI is set it fails.
fn skip(what: &str, reason: &str) -> Result<()> {
    if std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false") {
        bail!("{what} cannot run: {reason}");
    }
    println!("skipped {what}: {reason}");
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program with the tests and what it finds.
struct Guest {
    program: PathBuf,
    environment: Vec<(String, String)>,
}

impl Guest {
    fn build(project: &Project) -> Result<Guest> {
        let shell = project.shell()?;
        cmd!(shell, "cargo build --quiet --locked --package tss2-guest").quiet().run()?;
        let sim = compile::release(project, ["sim-tpm2go"])?;
        let programs = project.target.join("guest");
        if programs.exists() {
            std::fs::remove_dir_all(&programs)?;
        }
        std::fs::create_dir(&programs)?;
        let mut environment: Vec<(String, String)> =
            [("TSS2_STAGE", project.stage()), ("TSS2_SIM", sim), ("TSS2_PROGRAMS", programs)]
                .map(|(name, path)| (name.to_owned(), path.display().to_string()))
                .to_vec();
        // What the tests' own process would log; programs that they start get what they are to get.
        environment.push(("TSS2_LOG".to_owned(), "all+none".to_owned()));
        let handed_on = |name: &str| std::env::var(name).ok().map(|value| (name.to_owned(), value));
        environment.extend(["CI", KILLS].into_iter().filter_map(handed_on));
        let guest = Guest { program: project.target.join("debug/guest-tests"), environment };
        guest.ask(project, &["programs"], None)?;
        Ok(guest)
    }

    /// Runs the tests that the filter lets pass, one machine per topic.
    fn test(&self, project: &Project, filter: Option<&str>) -> Result<()> {
        let topics = self.topics(project, filter)?;
        if topics.is_empty() {
            bail!("no test in the virtual machines has {} in its name", filter.unwrap_or_default());
        }
        let kernel = vm::kernel(project)?;
        let queue = Mutex::new(VecDeque::from(topics));
        let failed = Mutex::new(Vec::new());
        // A function, so that the lock is not held while the topic runs.
        let next = || locked(&queue).pop_front();
        let work = || {
            while let Some(topic) = next() {
                if let Err(error) = self.run(project, &kernel, &topic, filter) {
                    let report = format!("{}: {error:#}", topic.name);
                    locked(&failed).push(report);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        match failed.is_empty() {
            true => Ok(()),
            false => bail!("tests in virtual machines failed: {}", failed.join("; ")),
        }
    }

    /// What it says here on the host.
    fn ask(&self, project: &Project, arguments: &[&str], topic: Option<&str>) -> Result<String> {
        let (shell, program) = (project.shell()?, &self.program);
        let environment =
            self.environment.iter().cloned().chain(topic.map(|name| ("TSS2_TOPIC".to_owned(), name.to_owned())));
        Ok(cmd!(shell, "{program} {arguments...}").envs(environment).quiet().read()?)
    }

    /// The topics that have a test which the filter lets pass.
    fn topics(&self, project: &Project, filter: Option<&str>) -> Result<Vec<Topic>> {
        let mut topics = Vec::new();
        for line in self.ask(project, &["topics"], None)?.lines() {
            let [name, memory, processors, tpm, layer] = line.split(' ').collect::<Vec<_>>()[..] else {
                bail!("a topic is {line}")
            };
            let listed = self.ask(project, &[&["--list"], filter.as_slice()].concat(), Some(name))?;
            if listed.contains("::") {
                topics.push(Topic {
                    name: name.to_owned(),
                    memory: memory.parse()?,
                    processors: processors.parse()?,
                    tpm: tpm == "tpm",
                    layer: Layer::named(layer),
                });
            }
        }
        Ok(topics)
    }

    /// Boots a machine for the topic, and prints what it printed.
    fn run(&self, project: &Project, kernel: &Kernel, topic: &Topic, filter: Option<&str>) -> Result<()> {
        let since = Instant::now();
        let kills = std::env::var(KILLS).map_or(Ok(0), |kills| kills.parse::<u64>()).context(KILLS)?;
        let layer = topic.layer.map(|layer| layer.prepare(project)).transpose()?;
        if let (Some(Layer::EarlyBoot), Some(layer)) = (topic.layer, &layer) {
            let shell = project.shell()?;
            if cmd!(shell, "id -u").quiet().read()? != "0" {
                return skip(
                    &format!("the tests of {}", topic.name),
                    "only root may mount what an initramfs is built in",
                );
            }
            let [layer, modules] = [layer.display().to_string(), kernel.modules().display().to_string()];
            self.ask(project, &["initramfs", &topic.name, &layer, &modules], None)?;
        }
        let mut machine = Machine {
            memory: topic.memory,
            processors: topic.processors,
            tpm: topic.tpm,
            layer,
            ..vm::machine(project, LIMIT + kills * KILL)
        };
        machine.environment.push(("TSS2_TOPIC".to_owned(), topic.name.clone()));
        let mut printed = Vec::new();
        let ended = self.boot(kernel, machine, &[&["--color", "never"], filter.as_slice()].concat(), &mut printed);
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "\n{} in a virtual machine, {:.0} s:", topic.name, since.elapsed().as_secs_f32())?;
        stdout.write_all(&printed)?;
        match ended? {
            0 => Ok(()),
            status => bail!("exit status {status}"),
        }
    }

    /// Runs the program in a machine; gives its exit status.
    fn boot(&self, kernel: &Kernel, mut machine: Machine, arguments: &[&str], out: &mut dyn Write) -> Result<i32> {
        machine.environment.extend(self.environment.iter().cloned());
        let program = self.program.to_str().context("the target directory is not UTF-8")?;
        let words: Vec<String> = [&[program], arguments].concat().into_iter().map(str::to_owned).collect();
        machine.run(kernel, &words, out)
    }
}
