// SPDX-License-Identifier: BSD-2-Clause
//! This program, to be started again in a process of its own.

use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;

/// Names the program that starts this one on another libc; `cargo xtask bench` sets it.
const RUN: &str = "TSS2_RUN";

/// The words that start this program in the same way as this process was started. The kernel does not know them: where the
/// dynamic linker was named, that is our executable.
pub(crate) fn words() -> Result<Vec<OsString>> {
    Ok(env::var_os(RUN).into_iter().chain([program()?]).collect())
}

/// This program on the libc of this machine.
pub(crate) fn program() -> Result<OsString> {
    match env::var_os(RUN) {
        Some(_) => env::args_os().next().context("a program without a name"),
        None => Ok(env::current_exe()?.into()),
    }
}
