// SPDX-License-Identifier: BSD-2-Clause
//! The module for the kernel's devices on the kernel's driver, with a swtpm as the chip.

use tss2_e2e::need::{OPENSSL, TPM2_TOOLS};
use tss2_e2e::suite::Suite;
use tss2_e2e::{output, stage};

pub(crate) fn tests(suite: &mut Suite) {
    for device in ["tpm0", "tpmrm0"] {
        suite.test(format!("device::all_steps_on_{device}"), &[TPM2_TOOLS, OPENSSL], move || all_steps(device));
    }
}

fn all_steps(device: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut script = stage::command("sh");
    script.arg(stage::c_tests("tpm2-tools.sh")).arg(dir.path()).env("TPM2TOOLS_TCTI", format!("device:/dev/{device}"));
    let printed = output::succeed(&mut script);
    let steps = printed.lines().last().and_then(|line| line.strip_suffix(" steps")).unwrap_or_default();
    assert!(steps.parse().is_ok_and(|steps: u32| steps >= 25), "{printed}");
}
