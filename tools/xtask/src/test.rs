// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask test`: runs the parts of the tests one after another. All parts run, even if one fails.

use crate::debian::sid::Sid;
use crate::project::Project;
use crate::{compile, install, needs, readme, vm_test};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::time::Instant;
use xshell::cmd;

/// Which tests to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Parts to run [default: all].
    parts: Vec<Part>,
    /// Run only the unit tests, which need no other programs.
    #[arg(long, conflicts_with = "parts")]
    quick: bool,
}

/// A part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The unit tests.
    Unit,
    /// Programs of the TPM software stack on the libraries in target/stage.
    E2e,
    /// Tests that need their own kernel, in virtual machines.
    Vm,
    /// The commands in README.md and in the guides of `docs`.
    Readme,
}

/// Runs the parts and fails with the names of those that failed.
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
        let result = part.run(project, no_install);
        let outcome = result.as_ref().map_or_else(|error| format!("FAILED: {error:#}"), |()| "passed".to_owned());
        println!("test {name}, {:.0} s: {outcome}", since.elapsed().as_secs_f32());
        failed.extend(result.is_err().then_some(name));
    }
    match failed.is_empty() {
        true if parts == [Part::Unit] => println!("only the unit tests ran"),
        true => println!("all tests passed"),
        false => bail!("these parts of the tests failed: {}", failed.join(", ")),
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
                // Tests provoke errors; do not log them.
                let units = cmd!(
                    shell,
                    "cargo test --locked --no-fail-fast --workspace --exclude tss2-e2e --exclude tss2-reliability"
                );
                Ok(units.env("TSS2_LOG", "all+NONE").run()?)
            }
            Part::E2e => {
                if !no_install {
                    Sid::if_available(project);
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
