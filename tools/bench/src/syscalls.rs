// SPDX-License-Identifier: BSD-2-Clause
//! System calls per command, counted by `strace -c` in a process of its own.

use crate::again;
use crate::subject::Library;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// The difference of two runs, so that what happens once does not count.
pub(crate) fn per_command(library: &Library) -> Result<f64> {
    const MORE: usize = 100;
    let (few, many) = (total(library, 10)?, total(library, 10 + MORE)?);
    Ok((many - few) / MORE as f64)
}

fn total(library: &Library, commands: usize) -> Result<f64> {
    let output = Command::new("strace")
        .args(["-c", "-U", "calls,name"])
        .args(again::words()?)
        .arg("send")
        .arg(&library.file)
        .args([&library.conf, &commands.to_string()])
        .output()
        .context("strace")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "strace: {text}");
    let line = text.lines().find(|line| line.trim_end().ends_with(" total")).context("strace gives no total")?;
    Ok(line.split_whitespace().next().context("strace gives no number")?.parse()?)
}
