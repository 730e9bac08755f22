// SPDX-License-Identifier: BSD-2-Clause
//! Which libraries a program loaded, with dlopen(3) or without: the dynamic linker's own report of the files that it
//! initialised.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs a program to its end. Returns its output and the libraries that it loaded.
pub fn run(command: &mut Command) -> (Output, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    command.env("LD_DEBUG", "libs").env("LD_DEBUG_OUTPUT", dir.path().join("of"));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    // Each process has a report of its own. This is the one of the program, not of the processes that it starts.
    let report = dir.path().join(format!("of.{}", child.id()));
    let output = child.wait_with_output().unwrap();
    let report = fs::read_to_string(report).unwrap();
    let files = report.lines().filter_map(|line| line.split_once("calling init: ")).map(|(_, file)| file.into());
    (output, files.collect())
}

/// Returns the files whose names begin with `start`.
pub fn named<'a>(files: &'a [PathBuf], start: &str) -> Vec<&'a Path> {
    let is = |file: &&Path| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    files.iter().map(PathBuf::as_path).filter(is).collect()
}
