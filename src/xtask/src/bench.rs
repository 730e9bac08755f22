// SPDX-License-Identifier: BSD-2-Clause
//! Modules side by side: ours, the distribution's, and the floor, on one core.

use crate::project::Project;
use crate::{compile, install, needs, vm_test};
use anyhow::Result;
use std::fs::OpenOptions;
use std::io::Write;
use xshell::cmd;

/// Writes target/bench.md.
pub(crate) fn run(project: &Project, commands: usize, no_install: bool) -> Result<()> {
    needs::install(project, &[needs::BENCH, needs::VM].concat(), no_install)?;
    let ours = install::stage(project)?.join("lib");
    let shell = project.shell()?;
    let built = compile::release(project, ["tss2-bench", "sim-mssim"])?;
    let (bench, server) = (built.join("side-by-side"), built.join("mssim-server"));
    let multiarch = cmd!(shell, "cc -print-multiarch").quiet().read()?;
    let theirs = format!("/usr/lib/{multiarch}");
    let output = project.target.join("bench.md");
    let commands = commands.to_string();
    // Pinned: client and server on two cores jump between two speeds.
    cmd!(
        shell,
        "taskset --cpu-list 0 {bench} table --ours {ours} --theirs {theirs} --mssim-server {server} --commands {commands} --output {output}"
    )
    .env("TCTI_PCAP_FILE", project.target.join("bench.pcap"))
    .quiet()
    .run()?;
    let stick = vm_test::stick_bench(project)?;
    print!("{stick}");
    let mut file = OpenOptions::new().append(true).open(&output)?;
    write!(
        file,
        "\n# The LetsTrust-TPM2Go\n\nSimulated behind the kernel's USB stack, in a virtual machine.\n\n{stick}"
    )?;
    println!("written to {}", output.display());
    Ok(())
}
