// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask arch`: tests on other architectures. Compiles with Debian 13's compilers and runs the results under qemu-user.
//! [`run`] prints a table and writes it to target/arch/results.md.

mod chroot;
mod machine;
mod steps;

use crate::debian;
use crate::project::Project;
use anyhow::{Context, Result, bail};
use chroot::Chroot;
use clap::Args;
use machine::{MACHINES, Machine};
use std::fs;
use std::time::Instant;

/// Which architectures to test.
#[derive(Args)]
pub(crate) struct Options {
    /// Architectures by Debian's names, such as armhf, or musl [default: all].
    names: Vec<String>,
}

/// Runs all steps on each architecture, and fails if a step failed.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    let machines = chosen(&options.names)?;
    if !debian::is_available(project, "the tests on other architectures", no_install)? {
        return Ok(());
    }
    let chroot = Chroot::prepare(project)?;
    let mut table = header();
    let mut failed = Vec::new();
    for machine in machines {
        let since = Instant::now();
        let log = chroot.log(&machine);
        if log.exists() {
            fs::remove_file(&log)?;
        }
        let suite = chroot.unpack(&machine)?;
        let results = steps::run(project, &chroot, &machine)?;
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
    let named = |name: &String| {
        Machine::named(name).with_context(|| format!("unknown architecture {name}; known are {}", known()))
    };
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
    fn all_architectures_are_chosen_by_default() {
        assert_eq!(chosen(&[]).unwrap().len(), MACHINES.len());
        let some: Vec<&str> = chosen(&["s390x".into(), "i386".into()]).unwrap().iter().map(|it| it.name).collect();
        assert_eq!(some, ["s390x", "i386"]);
        let error = chosen(&["arm".into()]).err().unwrap().to_string();
        assert!(error.starts_with("unknown architecture arm; known are i386, armhf,"), "{error}");
    }
}
