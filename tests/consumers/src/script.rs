// SPDX-License-Identifier: BSD-2-Clause
//! How the script of a row is run: in a directory of its own, with a TPM of its own, under the eyes of the linker.

use crate::evidence::Evidence;
use crate::machine;
use std::collections::BTreeSet;
use tss2_kit::output;
use tss2_kit::server::{SocketKind, Swtpm, TestTpm};

/// Comes before each script.
const PRELUDE: &str = include_str!("rows/prelude.sh");

/// Seconds for one script; the first build of the Rust example takes longest.
const LIMIT: &str = "300";

/// Runs a script, which has to succeed; gives the packages of the TCTI libraries that served it.
pub(crate) fn run(script: &str) -> BTreeSet<String> {
    // On TCP: the C module of Debian 12 and the crate tss-esapi know no other way.
    let (tpm, dir) = (Swtpm::start(SocketKind::Tcp), tempfile::tempdir().unwrap());
    let mut shell = machine::command("timeout");
    shell.current_dir(&dir).args([LIMIT, "sh", "-c", &format!("{PRELUDE}{script}")]).env("TCTI", tpm.name_conf());
    let evidence = Evidence::of(&mut shell);
    output::succeed(&mut shell);
    evidence.packages()
}
