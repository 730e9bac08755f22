// SPDX-License-Identifier: BSD-2-Clause
//! The distribution's tpm2-tools, unmodified, on our loader and modules: `c-tests/tpm2-tools.sh`.

use crate::{output, stage};

/// Minimum number of steps: a script that skips some does not pass.
const STEPS: u32 = 25;

/// Runs all steps on the TPM that `name_conf` opens.
pub fn all_steps(name_conf: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut script = stage::command("sh");
    script.arg(stage::c_tests("tpm2-tools.sh")).arg(dir.path()).env("TPM2TOOLS_TCTI", name_conf);
    let printed = output::succeed(&mut script);
    let steps = printed.lines().last().and_then(|line| line.strip_suffix(" steps")?.parse().ok());
    assert!(steps.is_some_and(|steps: u32| steps >= STEPS), "{printed}");
}
