// SPDX-License-Identifier: BSD-2-Clause
//! Counts system calls per command with `strace -c`, in a separate process.

use crate::again;
use crate::connection::Library;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// Returns the number of system calls per command: the difference of two runs, so that initialisation does not count.
pub(crate) fn per_command(library: &Library) -> Result<f64> {
    const MORE: usize = 100;
    let (few, many) = (total(library, 10)?, total(library, 10 + MORE)?);
    Ok((many - few) / MORE as f64)
}

/// Returns the number of system calls of a process that sends this number of commands.
fn total(library: &Library, commands: usize) -> Result<f64> {
    let output = Command::new("strace")
        .args(["-c", "-U", "calls,name"])
        .args(again::words()?)
        .arg("send")
        .arg(&library.file)
        .args([&library.conf, &commands.to_string()])
        .output()
        .context("cannot run strace")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "strace failed: {text}");
    let line = text.lines().find(|line| line.trim_end().ends_with(" total")).context("strace reports no total")?;
    Ok(line.split_whitespace().next().context("strace reports no number")?.parse()?)
}
