// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask vm-test`: runs the tests in virtual machines, one machine per topic of `tests/guest`, as many at a time as
//! there are processors.

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

/// Time limit of one topic in seconds, not counting time that its machine waits for a host processor.
const LIMIT: u64 = 900;
/// Environment variable: how many worker processes the topic of the web servers kills. By default each test kills a few.
const KILLS: &str = "TSS2_KILLS";
/// Additional time in seconds for each kill.
const KILL_TIME: u64 = 5;

/// A group of tests that share a virtual machine, from one line of `guest-tests topics`.
struct Topic {
    name: String,
    memory: u32,
    processors: u32,
    tpm: bool,
    layer: Option<Layer>,
}

/// Installs missing packages, builds the stage and runs the tests.
pub(crate) fn run(project: &Project, filter: Option<&str>, no_install: bool) -> Result<()> {
    needs::install(project, &[needs::VM, needs::VM_TEST].concat(), no_install)?;
    install::stage(project)?;
    test(project, filter)
}

/// Runs the tests of the Debian package with the udev rules. `packages` is the directory of our packages.
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

/// Runs the tests on the existing stage.
pub(crate) fn test(project: &Project, filter: Option<&str>) -> Result<()> {
    if !is_available(project)? {
        return Ok(());
    }
    Guest::build(project)?.test(project, filter)
}

/// Returns whether virtual machines can run here. If not, prints the reason; fails if CI is set.
pub(crate) fn is_available(project: &Project) -> Result<bool> {
    match kernel::unavailable(&vm::cache(project)) {
        None => Ok(true),
        Some(reason) => needs::skip("the tests in virtual machines", &reason).map(|()| false),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The test program and its environment.
struct Guest {
    program: PathBuf,
    environment: Vec<(String, String)>,
}

impl Guest {
    /// Builds the test program and what it uses: the simulators and the C programs.
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
        // Keep the test process quiet; tests set TSS2_LOG for the programs that they start.
        environment.push(("TSS2_LOG".to_owned(), "all+none".to_owned()));
        let inherited = |name: &str| std::env::var(name).ok().map(|value| (name.to_owned(), value));
        environment.extend(["CI", KILLS].into_iter().filter_map(inherited));
        let guest = Guest { program: project.target.join("debug/guest-tests"), environment };
        guest.run_on_host(project, &["programs"], None)?;
        Ok(guest)
    }

    /// Runs the tests whose names contain the filter, one machine per topic.
    fn test(&self, project: &Project, filter: Option<&str>) -> Result<()> {
        let topics = self.topics(project, filter)?;
        if topics.is_empty() {
            bail!("no test in the virtual machines matches {}", filter.unwrap_or_default());
        }
        let kernel = vm::kernel(project)?;
        let queue = Mutex::new(VecDeque::from(topics));
        let failed = Mutex::new(Vec::new());
        // A closure, so that the lock is released before the topic runs.
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

    /// Runs the test program on the host and returns its output.
    fn run_on_host(&self, project: &Project, arguments: &[&str], topic: Option<&str>) -> Result<String> {
        let (shell, program) = (project.shell()?, &self.program);
        let environment =
            self.environment.iter().cloned().chain(topic.map(|name| ("TSS2_TOPIC".to_owned(), name.to_owned())));
        Ok(cmd!(shell, "{program} {arguments...}").envs(environment).quiet().read()?)
    }

    /// Returns the topics that have a test whose name contains the filter.
    fn topics(&self, project: &Project, filter: Option<&str>) -> Result<Vec<Topic>> {
        let mut topics = Vec::new();
        for line in self.run_on_host(project, &["topics"], None)?.lines() {
            let [name, memory, processors, tpm, layer] = line.split(' ').collect::<Vec<_>>()[..] else {
                bail!("malformed line of topics: {line}")
            };
            let listed = self.run_on_host(project, &[&["--list"], filter.as_slice()].concat(), Some(name))?;
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

    /// Runs a topic in a virtual machine and prints its output.
    fn run(&self, project: &Project, kernel: &Kernel, topic: &Topic, filter: Option<&str>) -> Result<()> {
        let since = Instant::now();
        let kills = std::env::var(KILLS).map_or(Ok(0), |kills| kills.parse::<u64>()).context(KILLS)?;
        let layer = topic.layer.map(|layer| layer.prepare(project)).transpose()?;
        if let (Some(Layer::EarlyBoot), Some(layer)) = (topic.layer, &layer) {
            let shell = project.shell()?;
            if cmd!(shell, "id -u").quiet().read()? != "0" {
                return needs::skip(
                    &format!("the tests of {}", topic.name),
                    "only root may mount the file systems that an initramfs is built in",
                );
            }
            let [layer, modules] = [layer.display().to_string(), kernel.modules().display().to_string()];
            self.run_on_host(project, &["initramfs", &topic.name, &layer, &modules], None)?;
        }
        let mut machine = Machine {
            memory: topic.memory,
            processors: topic.processors,
            tpm: topic.tpm,
            layer,
            ..vm::machine(project, LIMIT + kills * KILL_TIME)
        };
        machine.environment.push(("TSS2_TOPIC".to_owned(), topic.name.clone()));
        let mut printed = Vec::new();
        let status = self.boot(kernel, machine, &[&["--color", "never"], filter.as_slice()].concat(), &mut printed);
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "\n{} in a virtual machine, {:.0} s:", topic.name, since.elapsed().as_secs_f32())?;
        stdout.write_all(&printed)?;
        match status? {
            0 => Ok(()),
            status => bail!("exit status {status}"),
        }
    }

    /// Runs the test program in a machine and returns its exit status.
    fn boot(&self, kernel: &Kernel, mut machine: Machine, arguments: &[&str], out: &mut dyn Write) -> Result<i32> {
        machine.environment.extend(self.environment.iter().cloned());
        let program = self.program.to_str().context("the target directory is not UTF-8")?;
        let words: Vec<String> = [&[program], arguments].concat().into_iter().map(str::to_owned).collect();
        machine.run(kernel, &words, out)
    }
}
