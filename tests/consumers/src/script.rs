// SPDX-License-Identifier: BSD-2-Clause
//! Runs the script of a row, in a directory of its own and with a TPM of its own, and finds out which TCTI libraries
//! were loaded.

use crate::evidence::Evidence;
use crate::machine;
use std::collections::BTreeSet;
use tss2_kit::output;
use tss2_kit::server::{SocketKind, Swtpm, TestTpm};

/// Put before each script.
const PRELUDE: &str = include_str!("rows/prelude.sh");

/// The time limit of a script in seconds. The first build of the Rust example takes longest.
const LIMIT: &str = "300";

/// Runs a script, which has to succeed. Returns the packages of the TCTI libraries that were loaded.
pub(crate) fn run(script: &str) -> BTreeSet<String> {
    // Over TCP, because the C module of Debian 12 and the crate tss-esapi do not support Unix sockets.
    let (tpm, dir) = (Swtpm::start(SocketKind::Tcp), tempfile::tempdir().unwrap());
    let mut shell = machine::command("timeout");
    shell.current_dir(&dir).args([LIMIT, "sh", "-c", &format!("{PRELUDE}{script}")]).env("TCTI", tpm.name_conf());
    let evidence = Evidence::of(&mut shell);
    output::succeed(&mut shell);
    evidence.packages()
}
