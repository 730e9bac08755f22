// SPDX-License-Identifier: BSD-2-Clause
//! Tests of where the messages of libtpms go.

use super::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tcti_core::testing::this_program;

/// Set in a process that runs the test alone, since the chip and stderr belong to the process.
const ALONE: &str = "TCTI_LIBTPMS_TEST_ALONE";

#[test]
fn messages_never_go_to_the_programs_stderr() {
    if std::env::var_os(ALONE).is_some() {
        let mut chip = Chip::take().unwrap();
        let mut fails = || {
            let damaged = Blobs { permanent: vec![1; 100].into(), volatile: Vec::new().into() };
            chip.power_on(damaged).unwrap_err().to_string()
        };
        assert!(fails().contains(" ("), "an error has the messages");
        // Without a descriptor for the file they are lost.
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) }).unwrap();
        assert!(!fails().contains(" ("));
        return;
    }
    let mut alone = this_program();
    let name = "messages_never_go_to_the_programs_stderr";
    let output = alone.args([name, "--nocapture"]).env(ALONE, "1").env("TSS2_LOG", "all+none").output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
