// SPDX-License-Identifier: BSD-2-Clause
//! A command in the virtual machine, on the files of this host.

use crate::needs;
use crate::project::Project;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
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
    /// Programs which are not installed here.
    #[arg(long)]
    with: Option<Layer>,
    /// A program and its arguments, or one word with a command line for the shell.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Programs that a machine has besides those of this one.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Layer {
    /// nginx, Apache, haproxy, tpm2-openssl and tpm2-pkcs11.
    Servers,
    /// initramfs-tools, dracut, Clevis and cryptsetup-initramfs.
    EarlyBoot,
}

impl Layer {
    /// By the name that it has on the command line.
    pub(crate) fn named(name: &str) -> Option<Layer> {
        Layer::from_str(name, false).ok()
    }

    /// The directory with the programs, unpacked below target/vm.
    pub(crate) fn prepare(self, project: &Project) -> Result<PathBuf> {
        let (name, packages) = match self {
            Layer::Servers => ("programs", needs::UNPACKED),
            Layer::EarlyBoot => ("early-boot", needs::EARLY_BOOT),
        };
        packages::unpacked(name, &needs::names(packages), &cache(project))
    }
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
        layer: options.with.map(|layer| layer.prepare(project)).transpose()?,
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
