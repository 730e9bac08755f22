// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask COMMAND`: everything the project does besides compiling.

mod arch;
mod archive;
mod bench;
mod check;
mod compile;
mod consumers;
mod copyright;
mod deb;
mod debian;
mod demo;
mod deny;
mod everywhere;
mod fresh;
mod fuzz;
mod headers;
mod install;
mod layout;
mod manual;
mod mirror;
mod needs;
mod packager;
mod place;
mod project;
mod readme;
mod relations;
mod reliability;
mod reproducible;
mod rpm;
mod sbom;
mod sid;
mod soak;
mod test;
mod tool;
mod unsafety;
mod vendor;
mod vm;
mod vm_test;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use project::Project;
use std::process::ExitCode;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds all, then lets tpm2-tools ask a TPM through our libraries.
    Demo(Install),
    /// Runs all tests.
    Test {
        #[command(flatten)]
        options: test::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Measures the modules beside the C modules and the floor of each protocol, in target/bench.md.
    Bench {
        #[command(flatten)]
        options: bench::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Runs the fuzzers, with the nightly compiler.
    Fuzz {
        #[command(flatten)]
        options: fuzz::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Puts every module under random load with random faults, and counts what comes of it.
    Soak {
        #[command(flatten)]
        options: soak::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Holds the tree against its conventions.
    Check,
    /// Writes include/tss2 anew from the exported functions.
    Headers,
    /// Writes docs/reliability.md anew from the tests of tests/reliability.
    Reliability,
    /// Lays out target/stage as an installation.
    Stage,
    /// Builds and installs.
    Install(layout::Options),
    /// Removes what install put there, with the same options.
    Uninstall(layout::Options),
    /// Builds a second time, elsewhere, and compares the libraries.
    Reproducible,
    /// Runs a command in a virtual machine that has a TPM and sees the files of this one.
    Vm {
        #[command(flatten)]
        options: vm::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Runs the programs of Debian 12 that use TCTI modules, on our packages in a Debian of their own.
    Consumers {
        #[command(flatten)]
        options: consumers::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Compiles for other architectures and runs unit tests, conformance tests and tpm2-tools there, under qemu-user.
    Arch {
        #[command(flatten)]
        options: arch::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Runs the two commands of README.md in a Debian that has a compiler and nothing else, each twice.
    Fresh {
        #[command(flatten)]
        options: fresh::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Runs the tests that need a kernel of their own, in virtual machines.
    VmTest {
        /// Only tests with this in their names.
        filter: Option<String>,
        #[command(flatten)]
        install: Install,
    },
    /// Builds Debian packages, in target/deb.
    Deb {
        #[command(flatten)]
        options: deb::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Every release of Debian and every architecture, in some hours; writes docs/platforms.md.
    Everywhere(everywhere::Options),
    /// Writes what the packages have to say of those in C, for debian/rules.
    #[command(hide = true)]
    Relations,
    /// Builds RPM packages, in target/rpm.
    Rpm(Install),
    /// Writes a bill of materials for each library, in target/sbom.
    Sbom,
    /// Holds what we depend on against deny.toml.
    Deny(deny::Options),
}

/// What to do about missing programs and libraries.
#[derive(Args, Clone, Copy)]
struct Install {
    /// Print the command that installs what is missing instead of running it.
    #[arg(long)]
    no_install: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let project = Project::find()?;
    let done = match &cli.command {
        Command::Vm { options, install } => return vm::run(&project, options, install.no_install),
        Command::VmTest { filter, install } => vm_test::run(&project, filter.as_deref(), install.no_install),
        Command::Consumers { options, install } => consumers::run(&project, options, install.no_install),
        Command::Arch { options, install } => arch::run(&project, options, install.no_install),
        Command::Fresh { options, install } => fresh::run(&project, options, install.no_install),
        Command::Demo(install) => demo::run(&project, install.no_install),
        Command::Test { options, install } => test::run(&project, options, install.no_install),
        Command::Bench { options, install } => bench::run(&project, options, install.no_install),
        Command::Fuzz { options, install } => fuzz::run(&project, options, install.no_install),
        Command::Soak { options, install } => soak::run(&project, options, install.no_install),
        Command::Check => check::run(&project),
        Command::Headers => headers::write(&project),
        Command::Reliability => reliability::write(&project),
        Command::Stage => install::stage(&project).map(drop),
        Command::Install(options) => install::install(&project, options),
        Command::Uninstall(options) => install::uninstall(options),
        Command::Reproducible => reproducible::run(&project),
        Command::Deb { options, install } => deb::run(&project, options, install.no_install),
        Command::Rpm(install) => rpm::run(&project, install.no_install),
        Command::Everywhere(options) => everywhere::run(&project, options),
        Command::Relations => relations::write(&project),
        Command::Sbom => sbom::run(&project),
        Command::Deny(options) => deny::run(&project, options),
    };
    done.map(|()| ExitCode::SUCCESS)
}
