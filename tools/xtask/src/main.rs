// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask COMMAND`: the project's development commands.

// The tree and the machine.
mod needs;
mod project;
// Building and installing.
mod compile;
mod headers;
mod install;
mod layout;
mod manual;
mod reproducible;
// Conventions and dependencies.
mod check;
mod dependencies;
// Tests and measurements on this system.
mod bench;
mod demo;
mod fuzz;
mod readme;
mod reliability;
mod soak;
mod test;
mod vm;
mod vm_test;
// Packages, other releases and other architectures.
mod arch;
mod consumers;
mod debian;
mod everywhere;
mod fresh;
mod packages;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use project::Project;
use std::process::ExitCode;

/// Development commands of the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the libraries and runs tpm2-tools on them against a software TPM.
    Demo(Install),
    /// Runs all tests.
    Test {
        #[command(flatten)]
        options: test::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Benchmarks the modules against the C modules and a minimal client of each protocol; writes target/bench.md.
    Bench {
        #[command(flatten)]
        options: bench::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Runs the fuzzers with the nightly compiler.
    Fuzz {
        #[command(flatten)]
        options: fuzz::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Puts every module under random load with random faults and reports the results.
    Soak {
        #[command(flatten)]
        options: soak::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Checks the conventions of the source tree.
    Check,
    /// Regenerates include/tss2 from the exported functions.
    Headers,
    /// Regenerates docs/reliability.md from the tests in tests/reliability.
    Reliability,
    /// Builds and installs into target/stage.
    Stage,
    /// Builds and installs the libraries, headers, manual pages and udev rules.
    Install(layout::Options),
    /// Removes an installation; takes the same options as install.
    Uninstall(layout::Options),
    /// Builds the libraries twice, in different directories, and compares them byte for byte.
    Reproducible,
    /// Runs a command in a virtual machine that has a TPM and a copy-on-write view of this system's files.
    Vm {
        #[command(flatten)]
        options: vm::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Tests Debian's programs that use TCTI modules on our packages, in a Debian chroot.
    Consumers {
        #[command(flatten)]
        options: consumers::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Cross-compiles for other architectures and runs unit tests, conformance tests and tpm2-tools under qemu-user.
    Arch {
        #[command(flatten)]
        options: arch::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Runs `cargo xtask demo` and `cargo xtask test` twice in a minimal Debian that has only a compiler and git.
    Fresh {
        #[command(flatten)]
        options: fresh::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Runs the tests that need their own kernel, in virtual machines.
    VmTest {
        /// Run only tests whose name contains this text.
        filter: Option<String>,
        #[command(flatten)]
        install: Install,
    },
    /// Builds Debian packages in target/deb.
    Deb {
        #[command(flatten)]
        options: packages::deb::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Tests every release of Debian and every architecture, which takes hours; writes docs/platforms.md.
    Everywhere(everywhere::Options),
    /// Writes Provides and Conflicts for the packages in the current tree; called by debian/rules.
    #[command(hide = true)]
    Relations,
    /// Builds RPM packages in target/rpm.
    Rpm(Install),
    /// Writes a software bill of materials for each library, in target/sbom.
    Sbom,
    /// Checks the dependencies against deny.toml.
    Deny(dependencies::Options),
}

/// How to handle missing programs and libraries.
#[derive(Args, Clone, Copy)]
struct Install {
    /// Print the command that installs missing packages instead of running it.
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
    let result = match &cli.command {
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
        Command::Deb { options, install } => packages::deb::run(&project, options, install.no_install),
        Command::Rpm(install) => packages::rpm::run(&project, install.no_install),
        Command::Everywhere(options) => everywhere::run(&project, options),
        Command::Relations => packages::relations::write(&project),
        Command::Sbom => dependencies::write_sbom(&project),
        Command::Deny(options) => dependencies::check(&project, options),
    };
    result.map(|()| ExitCode::SUCCESS)
}
