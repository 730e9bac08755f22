// SPDX-License-Identifier: BSD-2-Clause
//! What libtpms says, and where.

use super::*;
use tcti_core::testing::itself;

/// This test in a process of its own, where it is alone with the chip and stderr.
const ALONE: &str = "TCTI_LIBTPMS_TEST_ALONE";

#[test]
fn without_a_place_for_messages_none_goes_to_the_programs_stderr() {
    if std::env::var_os(ALONE).is_some() {
        let mut chip = Chip::take().unwrap();
        chip.messages = None;
        assert_eq!(
            chip.power_on(Blobs { permanent: vec![1; 100], volatile: Vec::new() }),
            Err(ReturnCode::IO_ERROR.into())
        );
        return;
    }
    let mut alone = itself();
    let name = "without_a_place_for_messages_none_goes_to_the_programs_stderr";
    let output = alone.args([name, "--nocapture"]).env(ALONE, "1").env("TSS2_LOG", "all+none").output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
