// SPDX-License-Identifier: BSD-2-Clause
//! Tests the soak itself: it passes with a correct TPM, and with a defective one it fails and names the defect.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

/// The failure for a lost key.
const LOST: &str = "the object 0x80000000 was loaded and not flushed, and is ";
/// The failures for a response to another command, which may also look like a refusal or a lost key.
const WRONG: [&str; 3] = [" got Wrong: ", " got Refusal(", LOST];

fn soak(more: &[&str]) -> Output {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
    soak.args(["wrong-answers", "--commands", "3000"]).args(more);
    soak.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0").env_remove("TSS2_LOGFILE").output().unwrap()
}

#[track_caller]
fn assert_caught(lie: &str, messages: &[&str]) {
    let ended = soak(&["--lie", lie]);
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(messages.iter().any(|message| stderr.contains(message)), "{stderr}");
}

#[test]
fn a_correct_tpm_passes() {
    let ended = soak(&[]);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let row = String::from_utf8_lossy(&ended.stdout);
    assert!(row.starts_with("| wrong-answers | 3") && row.ends_with("|\n"), "{row}");
    // Commands refused, processes forked and killed, keys checked.
    let counts: Vec<u64> = row.split(" | ").skip(1).filter_map(|count| count.parse().ok()).collect();
    assert!([4, 7, 8, 9].iter().all(|column| counts[*column] > 0), "{row}");
}

#[test]
fn a_response_to_the_previous_command_is_caught() {
    assert_caught("behind", &WRONG);
}

#[test]
fn a_failure_without_a_fault_is_caught() {
    assert_caught("broken", &["transmit returns IO_ERROR; context 0, no fault"]);
}

#[test]
fn a_second_poll_descriptor_is_caught() {
    assert_caught("handles", &[" to poll while a response is due"]);
}

#[test]
fn a_heap_leak_is_caught() {
    assert_caught("heap", &[" bytes allocated, before "]);
}

#[test]
fn a_lost_key_is_caught() {
    assert_caught("lost", &[LOST]);
}

#[test]
fn a_key_that_a_forked_process_loses_is_caught() {
    assert_caught("lost-there", &[LOST]);
}

#[test]
fn a_response_to_the_previous_command_is_caught_in_a_forked_process() {
    assert_caught("behind-there", &WRONG);
}

#[test]
fn a_failure_without_a_fault_is_caught_in_a_forked_process() {
    assert_caught("broken-there", &[": transmit returns IO_ERROR; context 0, no fault"]);
}

#[test]
fn a_forked_process_that_crashes_is_caught() {
    assert_caught("crash-there", &["SIGABRT"]);
}
