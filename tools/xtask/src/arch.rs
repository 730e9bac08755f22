// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask arch`: what we promise, on other architectures. Compiles with Debian 13's own compilers and runs the results
//! under qemu-user. [`run`] prints a table and leaves it in target/arch/results.md.

mod machine;
mod place;
mod steps;

use crate::consumers::unavailable;
use crate::needs;
use crate::project::Project;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use machine::{MACHINES, Machine};
use place::Place;
use std::env;
use std::fs;
use std::time::Instant;

/// Which architectures.
#[derive(Args)]
pub(crate) struct Options {
    /// Debian's names, such as armhf [default: all].
    names: Vec<String>,
}

/// Fails when a step does on any of them.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    let machines = chosen(&options.names)?;
    needs::install(project, needs::CONSUMERS, no_install)?;
    if let Some(reason) = unavailable(project)? {
        ensure!(
            env::var_os("CI").is_none_or(|value| value.is_empty() || value == "false"),
            "the architectures cannot be tested: {reason}"
        );
        println!("skipped the architectures: {reason}");
        return Ok(());
    }
    let place = Place::prepare(project)?;
    let mut table = header();
    let mut failed = Vec::new();
    for machine in machines {
        let since = Instant::now();
        let log = place.log(&machine);
        if log.exists() {
            fs::remove_file(&log)?;
        }
        let suite = place.unpack(&machine)?;
        let results = steps::run(project, &place, &machine)?;
        if results.iter().any(Result::is_err) {
            failed.push(machine.name);
        }
        table += &row(&machine, &suite, &results);
        println!("{}: {:.0} s", machine.name, since.elapsed().as_secs_f32());
    }
    println!("\n{table}");
    let path = project.target.join("arch/results.md");
    fs::write(&path, &table).with_context(|| format!("cannot write {}", path.display()))?;
    if !failed.is_empty() {
        bail!("failed on {}", failed.join(", "));
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<Machine>> {
    if names.is_empty() {
        return Ok(MACHINES.to_vec());
    }
    let known = || MACHINES.map(|machine| machine.name).join(", ");
    let named = |name: &String| Machine::named(name).with_context(|| format!("{name} is none of {}", known()));
    names.iter().map(named).collect()
}

fn header() -> String {
    let titles: Vec<&str> = ["architecture", "packages"].into_iter().chain(steps::titles()).collect();
    format!("| {} |\n|{}\n", titles.join(" | "), "---|".repeat(titles.len()))
}

fn row(machine: &Machine, suite: &str, results: &[Result<String>]) -> String {
    let cell = |result: &Result<String>| result.as_ref().map_or_else(|_| "FAILED".to_owned(), String::clone);
    let cells: Vec<String> = results.iter().map(cell).collect();
    format!("| {} ({}) | {suite} | {} |\n", machine.name, machine.kind, cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_architectures_unless_some_are_named() {
        assert_eq!(chosen(&[]).unwrap().len(), MACHINES.len());
        let some: Vec<&str> = chosen(&["s390x".into(), "i386".into()]).unwrap().iter().map(|it| it.name).collect();
        assert_eq!(some, ["s390x", "i386"]);
        let error = chosen(&["arm".into()]).err().unwrap().to_string();
        assert!(error.starts_with("arm is none of i386, armhf,"), "{error}");
    }
}
