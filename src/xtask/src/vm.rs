// SPDX-License-Identifier: BSD-2-Clause
//! A command in the virtual machine, on the files of this host.

use crate::needs;
use crate::project::Project;
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tss2_vm::{Kernel, Machine, packages};

/// What is run, and in which machine.
#[derive(Args)]
pub(crate) struct Options {
    /// Memory in megabytes.
    #[arg(long, default_value_t = 310)]
    memory: u32,
    /// A machine without a TPM.
    #[arg(long)]
    no_tpm: bool,
    /// Seconds after which the machine is killed, without those in which it waited for a processor of this one.
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// How many processors.
    #[arg(long, default_value_t = 1)]
    processors: u32,
    /// With nginx, Apache, haproxy, tpm2-openssl and tpm2-pkcs11, which are not installed here.
    #[arg(long)]
    servers: bool,
    /// A program and its arguments, or one word with a command line for the shell.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Gives the exit status of the command.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<ExitCode> {
    if options.command.is_empty() {
        bail!("which command? For example: cargo xtask vm -- tpm2_getrandom --hex 8");
    }
    needs::install(project, needs::VM, no_install)?;
    let kernel = kernel(project)?;
    let machine = Machine {
        memory: options.memory,
        processors: options.processors,
        tpm: !options.no_tpm,
        layer: if options.servers { Some(servers(project)?) } else { None },
        ..machine(project, options.limit)
    };
    let status = machine.run(&kernel, &options.command, &mut std::io::stdout())?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)))
}

/// The kernel, prepared below target/vm.
pub(crate) fn kernel(project: &Project) -> Result<Kernel> {
    Kernel::prepare(&cache(project))
}

/// Where kernels are kept.
pub(crate) fn cache(project: &Project) -> PathBuf {
    project.target.join("vm")
}

/// The directory with the servers, unpacked below target/vm.
pub(crate) fn servers(project: &Project) -> Result<PathBuf> {
    packages::unpacked(&needs::names(needs::UNPACKED), &cache(project))
}

/// A machine that sees the tree, what is built of it and, if there is one, the stage.
pub(crate) fn machine(project: &Project, limit: u64) -> Machine {
    let mut environment = vec![("LC_ALL".to_owned(), "C".to_owned())];
    let libraries = project.stage().join("lib");
    if libraries.is_dir() {
        environment.push(("LD_LIBRARY_PATH".to_owned(), libraries.display().to_string()));
    }
    Machine {
        memory: 310,
        processors: 1,
        tpm: true,
        limit: Duration::from_secs(limit),
        directory: project.root.clone(),
        paths: vec![project.target.clone()],
        layer: None,
        environment,
    }
}
