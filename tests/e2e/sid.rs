// SPDX-License-Identifier: BSD-2-Clause
//! The C modules of Debian sid, which `cargo xtask test e2e` unpacks where apt has a mirror. `TSS2_C_SID` names
//! a directory other than `target/bench/c-sid`.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tss2_kit::stage;

fn dir() -> PathBuf {
    env::var_os("TSS2_C_SID").map_or_else(|| stage::repository().join("target/bench/c-sid"), PathBuf::from)
}

/// Returns the release of tpm2-tss, or `None` where the modules are not unpacked.
pub(crate) fn release() -> Option<String> {
    let version = fs::read_to_string(dir().join("version")).ok()?;
    version.split('-').next().map(str::to_owned)
}

/// Returns the path of a library.
pub(crate) fn library(name: &str) -> PathBuf {
    dir().join("lib").join(format!("libtss2-{name}.so.0"))
}

/// Returns a command that finds these libraries and runs on sid's libc. The processes that it starts do so, too,
/// unless `LD_LIBRARY_PATH` is removed from their environment: then they run on this machine's libc.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = stage::distribution_command(dir().join("run"));
    command.arg(Path::new(program.as_ref())).env("LD_LIBRARY_PATH", dir().join("lib"));
    command
}
