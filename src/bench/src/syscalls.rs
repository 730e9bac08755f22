// SPDX-License-Identifier: BSD-2-Clause
//! System calls per command, counted by `strace -c` in a process of its own.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

/// The difference of two runs, so that what happens once does not count; `None` without strace.
pub(crate) fn per_command(library: &Path, conf: &str) -> Result<Option<f64>> {
    const MORE: usize = 100;
    if Command::new("strace").arg("-V").output().is_err() {
        return Ok(None);
    }
    let (few, many) = (total(library, conf, 10)?, total(library, conf, 10 + MORE)?);
    Ok(Some((many - few) / MORE as f64))
}

fn total(library: &Path, conf: &str, commands: usize) -> Result<f64> {
    let program = std::env::current_exe()?;
    let output = Command::new("strace")
        .args(["-c", "-U", "calls,name"])
        .arg(program)
        .arg("send")
        .arg(library)
        .args([conf, &commands.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "strace: {text}");
    let line = text.lines().find(|line| line.trim_end().ends_with(" total")).context("strace gives no total")?;
    Ok(line.split_whitespace().next().context("strace gives no number")?.parse()?)
}
