// SPDX-License-Identifier: BSD-2-Clause
//! Runs the fuzzers of `tests/fuzz`, one per processor at a time. New inputs go to `target/fuzz`; the committed corpora
//! are only read.

use crate::needs;
use crate::project::{Project, names_in};
use anyhow::{Context, Result, bail};
use clap::Args;
use regex::Regex;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use xshell::cmd;

/// The directory of the fuzzers.
const DIR: &str = "tests/fuzz";
/// Seconds after which an input counts as a hang.
const TIMEOUT: u32 = 25;
/// The memory limit of a fuzzer, in MiB.
const MEMORY: u32 = 4096;

/// The options of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds that each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// The targets to run; all if none is named.
    targets: Vec<String>,
}

/// The directories of one run.
struct Places {
    /// The committed corpora and dictionaries.
    tree: PathBuf,
    /// Logs, new inputs, and inputs that crash.
    out: PathBuf,
    programs: PathBuf,
}

/// Runs the chosen targets. Fails when one finds something.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    needs::install(project, needs::FUZZ, no_install)?;
    let places = Places { tree: project.root.join(DIR), out: project.target.join("fuzz"), programs: build(project)? };
    let all = targets(&places.tree)?;
    if let Some(unknown) = options.targets.iter().find(|target| !all.contains(target)) {
        bail!("there is no target {unknown}; there are {}", all.join(" "));
    }
    let chosen = if options.targets.is_empty() { all } else { options.targets.clone() };
    let queue = Mutex::new(chosen.iter());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let work = || {
        let mut failed = 0;
        while let Some(target) = next() {
            match fuzz(&places, target, options.seconds) {
                Ok(line) => println!("{line}"),
                Err(error) => {
                    println!("{target}: {error:#}");
                    failed += 1;
                }
            }
        }
        failed
    };
    let processors = thread::available_parallelism()?.get();
    let failed: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(1)).sum()
    });
    match failed {
        0 => Ok(()),
        failed => bail!("{failed} targets failed"),
    }
}

/// Builds all targets with the nightly compiler, because the stable one has no sanitizers. Returns their directory.
fn build(project: &Project) -> Result<PathBuf> {
    let shell = project.shell()?;
    let fuzz = needs::cargo_tool(project, "cargo-fuzz", "0.13.2")?;
    let toolchains = cmd!(shell, "rustup toolchain list").quiet().read().context("the fuzzers need rustup")?;
    if !toolchains.lines().any(|toolchain| toolchain.starts_with("nightly")) {
        println!("installing the nightly compiler");
        cmd!(shell, "rustup toolchain install nightly --profile minimal").quiet().run()?;
    }
    let target = project.target.join("fuzz/build");
    let build = cmd!(shell, "{fuzz} fuzz build --fuzz-dir {DIR} --target-dir {target}");
    // Quiet on success; the compiler's messages are shown on a failure.
    build
        .env("RUSTUP_TOOLCHAIN", "nightly")
        .env("CARGO_TERM_QUIET", "true")
        .quiet()
        .run()
        .with_context(|| format!("{DIR} does not build"))?;
    let version = cmd!(shell, "rustup run nightly rustc --verbose --version").quiet().read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(target.join(host).join("release"))
}

/// Returns the names of the targets in the manifest.
fn targets(tree: &Path) -> Result<Vec<String>> {
    let manifest: toml::Table = fs::read_to_string(tree.join("Cargo.toml"))?.parse()?;
    let bins = manifest.get("bin").and_then(toml::Value::as_array).context("no targets")?;
    Ok(bins.iter().filter_map(|bin| Some(bin.get("name")?.as_str()?.to_owned())).collect())
}

/// Runs one target. Returns a line with its counts.
fn fuzz(places: &Places, target: &str, seconds: u32) -> Result<String> {
    let (corpus, artifacts) = (places.out.join("corpus").join(target), places.out.join("artifacts").join(target));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let log = places.out.join(format!("{target}.log"));
    let output = File::create(&log)?;
    // State files and sockets are in memory where that is possible.
    let memory = Path::new("/dev/shm");
    let scratch = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
    let dictionary = places.tree.join(format!("dict/{target}.dict"));
    let before = names_in(&artifacts)?;
    let status = Command::new(places.programs.join(target))
        .arg(&corpus)
        .arg(places.tree.join("corpus").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([format!("-timeout={TIMEOUT}"), format!("-rss_limit_mb={MEMORY}")])
        .arg("-print_final_stats=1")
        .args(dictionary.exists().then(|| format!("-dict={}", dictionary.display())))
        .env("TMPDIR", scratch.path())
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let counts = Counts::of(&said)?;
    let found = names_in(&artifacts)?.into_iter().find(|name| !before.contains(name));
    match (status.success(), found) {
        (true, _) if counts.is_nothing() => {
            bail!("{counts}, FAILED: it executed no input, or saw no coverage, see {}", log.display())
        }
        (true, _) => Ok(format!("{target}: {counts}, ok")),
        (false, Some(name)) => bail!(
            "{counts}, FAILED ({status})\n  {}\n  again: cargo +nightly fuzz run --fuzz-dir {DIR} {target} {}",
            reason(&said).unwrap_or("see the log"),
            artifacts.join(name).display()
        ),
        (false, None) => bail!("{counts}, FAILED ({status}), see {}", log.display()),
    }
}

/// The counts of one run.
struct Counts {
    executions: u64,
    per_second: u64,
    edges: u64,
}

impl Counts {
    /// Parses the log; counts that it lacks are 0.
    fn of(log: &str) -> Result<Counts> {
        let number = |form: &str| -> Result<u64> {
            let found = Regex::new(form)?.captures_iter(log).last();
            Ok(found.and_then(|found| found.get(1)?.as_str().parse().ok()).unwrap_or_default())
        };
        Ok(Counts {
            executions: number(r"stat::number_of_executed_units: (\d+)")?,
            per_second: number(r"stat::average_exec_per_sec: +(\d+)")?,
            edges: number(r"cov: (\d+)")?,
        })
    }

    /// Whether no input was executed, or no instrumented code: such a run proves nothing.
    fn is_nothing(&self) -> bool {
        self.executions == 0 || self.edges == 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} executions, {}/s, {} edges", self.executions, self.per_second, self.edges)
    }
}

/// Returns the first line of the log that says what is wrong.
fn reason(log: &str) -> Option<&str> {
    let mut lines = log.lines().skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR: "));
    match (lines.next()?, lines.next()) {
        (line, Some(message)) if line.contains("panicked at") => Some(message),
        (line, _) => Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_executions_or_edges_proves_nothing() {
        let edges = "#2\tINITED cov: 7 ft: 8\n#9\tDONE   cov: 12 ft: 8\n";
        let executions = "stat::number_of_executed_units: 9\nstat::average_exec_per_sec:     3\n";
        let whole = Counts::of(&format!("{edges}{executions}")).unwrap();
        assert_eq!((whole.to_string().as_str(), whole.is_nothing()), ("9 executions, 3/s, 12 edges", false));
        assert!(["", edges, executions].into_iter().all(|log| Counts::of(log).unwrap().is_nothing()));
    }
}
