// SPDX-License-Identifier: BSD-2-Clause
//! All tests, one part after the other: units, programs against the staged tree, those that need a kernel of their own, the
//! commands of the README. A part that fails does not keep the others from running.

use crate::project::Project;
use crate::sid::Sid;
use crate::{compile, install, needs, readme, vm_test};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::time::Instant;
use xshell::cmd;

/// Which tests.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these; all without a name.
    parts: Vec<Part>,
    /// Only what needs no other program: the unit tests.
    #[arg(long, conflicts_with = "parts")]
    quick: bool,
}

/// A part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The unit tests.
    Unit,
    /// Programs of the TPM software stack on the staged libraries.
    E2e,
    /// What needs a kernel of its own.
    Vm,
    /// The commands of README.md.
    Readme,
}

/// Fails when a part failed, and then says which.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<()> {
    let parts = match &options.parts[..] {
        _ if options.quick => &[Part::Unit],
        [] => Part::value_variants(),
        parts => parts,
    };
    needs::install(project, &packages(parts), no_install)?;
    let mut failed = Vec::new();
    for part in parts {
        let name = format!("{part:?}").to_lowercase();
        let since = Instant::now();
        let ended = part.run(project, no_install);
        let outcome = ended.as_ref().map_or_else(|error| format!("FAILED: {error:#}"), |()| "passed".to_owned());
        println!("test {name}, {:.0} s: {outcome}", since.elapsed().as_secs_f32());
        failed.extend(ended.is_err().then_some(name));
    }
    match failed.is_empty() {
        true if parts == [Part::Unit] => println!("only the unit tests were run"),
        true => println!("all tests passed"),
        false => bail!("of the tests these failed: {}", failed.join(", ")),
    }
    Ok(())
}

fn packages(parts: &[Part]) -> Vec<needs::Package> {
    match parts {
        [Part::Unit] => needs::QUICK.to_vec(),
        parts if parts.contains(&Part::Vm) => [needs::TEST, needs::VM, needs::VM_TEST].concat(),
        _ => needs::TEST.to_vec(),
    }
}

impl Part {
    fn run(self, project: &Project, no_install: bool) -> Result<()> {
        let shell = project.shell()?;
        match self {
            Part::Unit => {
                // What goes wrong on purpose is no news.
                let units = cmd!(
                    shell,
                    "cargo test --locked --no-fail-fast --workspace --exclude tss2-e2e --exclude tss2-reliability"
                );
                Ok(units.env("TSS2_LOG", "all+NONE").run()?)
            }
            Part::E2e => {
                if !no_install {
                    Sid::if_to_be_had(project);
                }
                let stage = install::stage(project)?;
                let sim = compile::release(project, ["sim-mssim", "sim-tis", "sim-tpm2go"])?;
                let tests =
                    cmd!(shell, "cargo test --locked --no-fail-fast --package tss2-e2e --package tss2-reliability");
                Ok(tests.env("TSS2_STAGE", &stage).env("TSS2_SIM", sim).run()?)
            }
            Part::Vm => {
                install::stage(project)?;
                vm_test::test(project, None)
            }
            Part::Readme => readme::run(project),
        }
    }
}
