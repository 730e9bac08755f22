// SPDX-License-Identifier: BSD-2-Clause
//! The C modules of Debian sid, which `cargo xtask test e2e` unpacks where apt has a mirror. `TSS2_C_SID` names another
//! directory than `target/bench/c-sid`.

use crate::stage;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn dir() -> PathBuf {
    env::var_os("TSS2_C_SID").map_or_else(|| stage::repository().join("target/bench/c-sid"), PathBuf::from)
}

/// The release of tpm2-tss; `None` where they are not.
pub fn release() -> Option<String> {
    let version = fs::read_to_string(dir().join("version")).ok()?;
    version.split('-').next().map(str::to_owned)
}

/// One of them.
pub fn library(name: &str) -> PathBuf {
    dir().join("lib").join(format!("libtss2-{name}.so.0"))
}

/// A program that finds them, on sid's libc. So it is with those that it starts, unless they are without
/// `LD_LIBRARY_PATH`: they have this machine's libc.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = stage::distribution_command(dir().join("run"));
    command.arg(Path::new(program.as_ref())).env("LD_LIBRARY_PATH", dir().join("lib"));
    command
}
