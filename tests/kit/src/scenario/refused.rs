// SPDX-License-Identifier: BSD-2-Clause
//! A refused command does not cost objects that are loaded: `c-tests/refused.c`.

use crate::program::{self, Link};
use crate::{output, stage};
use std::path::PathBuf;

/// Minimum number of checks: a program that skips some does not pass.
const CHECKS: u32 = 49;

/// The code of each refusal, in hexadecimal.
#[derive(Clone, Copy)]
pub struct RefusalCodes {
    /// For a handle that does not exist.
    pub unknown_handle: &'static str,
    /// For a fourth object.
    pub fourth_object: &'static str,
    /// For a command of 4097 bytes.
    pub too_large: &'static str,
}

/// The codes of libtpms: `TPM_RC_VALUE` for the first handle, `TPM_RC_OBJECT_MEMORY`, `TPM_RC_COMMAND_SIZE`.
pub const TPM_CODES: RefusalCodes = RefusalCodes { unknown_handle: "184", fourth_object: "902", too_large: "142" };

/// `TSS2_TCTI_RC_IO_ERROR`: a layer between the module and the TPM refuses the command.
pub const IO_ERROR: &str = "a000a";

/// Builds the program.
pub fn program() -> PathBuf {
    program::build("refused", Link::Staged("tss2-tctildr"), &[])
}

/// Runs it on the TPM that `name_conf` opens. Returns what it logged.
pub fn keeps_objects(name_conf: &str, codes: RefusalCodes) -> String {
    let mut command = stage::command(program());
    command.arg(name_conf).args([codes.unknown_handle, codes.fourth_object, codes.too_large]);
    let output = output::run(&mut command);
    assert!(output.status.success(), "{}", output::show(&output));
    output::passes(&output::stdout(&output), CHECKS);
    output::stderr(&output)
}
