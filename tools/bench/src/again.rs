// SPDX-License-Identifier: BSD-2-Clause
//! Runs this program again in a separate process.

use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;

/// Environment variable: the program that runs this one on another libc. Set by `cargo xtask bench`.
const RUN: &str = "TSS2_RUN";

/// Returns the command that runs this program in the same way as this process was started. /proc/self/exe cannot be used for
/// that, because it is the dynamic linker if that was called explicitly.
pub(crate) fn words() -> Result<Vec<OsString>> {
    Ok(env::var_os(RUN).into_iter().chain([program()?]).collect())
}

/// Returns the path of this program, to run it on the libc of this system.
pub(crate) fn program() -> Result<OsString> {
    match env::var_os(RUN) {
        Some(_) => env::args_os().next().context("no program name in the arguments"),
        None => Ok(env::current_exe()?.into()),
    }
}
