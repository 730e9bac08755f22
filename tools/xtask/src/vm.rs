// SPDX-License-Identifier: BSD-2-Clause
//! `cargo xtask vm`: runs a command in a virtual machine that sees the files of this system.

use crate::needs;
use crate::project::Project;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tss2_vm::{Kernel, Machine, packages};

/// The virtual machine and the command to run in it.
#[derive(Args)]
pub(crate) struct Options {
    /// Memory in MiB.
    #[arg(long, default_value_t = 310)]
    memory: u32,
    /// Boot without a TPM.
    #[arg(long)]
    no_tpm: bool,
    /// Kill the machine after this many seconds, not counting time that it waits for a host processor.
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// Number of processors.
    #[arg(long, default_value_t = 1)]
    processors: u32,
    /// Add programs that are not installed on this system.
    #[arg(long)]
    with: Option<Layer>,
    /// A program and its arguments, or a shell command line as one argument.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Additional programs for a virtual machine.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Layer {
    /// nginx, Apache, haproxy, tpm2-openssl and tpm2-pkcs11.
    Servers,
    /// initramfs-tools, dracut, Clevis and cryptsetup-initramfs.
    EarlyBoot,
}

impl Layer {
    /// Returns the layer with this name on the command line.
    pub(crate) fn named(name: &str) -> Option<Layer> {
        Layer::from_str(name, false).ok()
    }

    /// Unpacks the programs in target/vm and returns their directory.
    pub(crate) fn prepare(self, project: &Project) -> Result<PathBuf> {
        let (name, packages) = match self {
            Layer::Servers => ("programs", needs::UNPACKED),
            Layer::EarlyBoot => ("early-boot", needs::EARLY_BOOT),
        };
        packages::unpacked(name, &needs::names(packages), &cache(project))
    }
}

/// Runs the command and returns its exit status.
pub(crate) fn run(project: &Project, options: &Options, no_install: bool) -> Result<ExitCode> {
    if options.command.is_empty() {
        bail!("no command given; for example: cargo xtask vm -- tpm2_getrandom --hex 8");
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

/// Returns the kernel in target/vm; downloads it first if necessary.
pub(crate) fn kernel(project: &Project) -> Result<Kernel> {
    Kernel::prepare(&cache(project))
}

/// Returns the directory for kernels and unpacked packages.
pub(crate) fn cache(project: &Project) -> PathBuf {
    project.target.join("vm")
}

/// Returns a virtual machine that runs commands in the source tree and uses the libraries in the stage, if it exists. `limit` is
/// in seconds.
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
