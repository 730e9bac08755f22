// SPDX-License-Identifier: BSD-2-Clause
//! The C programs that the topics use. `TSS2_PROGRAMS` names the directory in which they are kept.

use std::path::PathBuf;
use tss2_e2e::program;

/// Compiles all of them, on the host.
pub(crate) fn build() {
    for program in [program::conformance, program::link_tctildr] {
        let _: PathBuf = program();
    }
}
