// SPDX-License-Identifier: BSD-2-Clause
//! What is refused costs nothing that was loaded: `c-tests/refused.c`.

use crate::program::{self, Link};
use crate::{output, stage};
use std::path::PathBuf;

/// Fewest checks of the program: one that skips them does not pass.
const CHECKS: u32 = 49;

/// The code that answers what is refused, in hexadecimal.
#[derive(Clone, Copy)]
pub struct Refusals {
    /// A handle that is not there.
    pub handle: &'static str,
    /// A fourth object.
    pub fourth: &'static str,
    /// A command of 4097 bytes.
    pub size: &'static str,
}

/// By a libtpms: `TPM_RC_VALUE` of the first handle, `TPM_RC_OBJECT_MEMORY`, `TPM_RC_COMMAND_SIZE`.
pub const BY_THE_TPM: Refusals = Refusals { handle: "184", fourth: "902", size: "142" };

/// By what leads to the TPM.
pub const IO_ERROR: &str = "a000a";

/// The program, compiled.
pub fn program() -> PathBuf {
    program::build("refused", Link::Staged("tss2-tctildr"), &[])
}

/// Runs it with the TPM that `name_conf` opens; gives what was logged.
pub fn nothing_is_lost(name_conf: &str, refusals: Refusals) -> String {
    let mut command = stage::command(program());
    command.arg(name_conf).args([refusals.handle, refusals.fourth, refusals.size]);
    let output = output::run(&mut command);
    assert!(output.status.success(), "{}", output::show(&output));
    output::passes(&output::stdout(&output), CHECKS);
    output::stderr(&output)
}
