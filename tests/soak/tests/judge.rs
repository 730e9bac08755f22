// SPDX-License-Identifier: BSD-2-Clause
//! The judge of the soak is judged: a TPM that tells the truth passes, and each lie ends the run with a failure that
//! names it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

/// Of a key.
const LOST: &str = "the object 0x80000000 was loaded and not flushed, and is ";
/// Of answers to other commands, which may be a refusal.
const WRONG: [&str; 3] = [" got Wrong: ", " got Refusal(", LOST];

fn soak(more: &[&str]) -> Output {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
    soak.args(["liar", "--commands", "3000"]).args(more);
    soak.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0").env_remove("TSS2_LOGFILE").output().unwrap()
}

#[track_caller]
fn is_caught(lie: &str, said: &[&str]) {
    let ended = soak(&["--lie", lie]);
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(said.iter().any(|said| stderr.contains(said)), "{stderr}");
}

#[test]
fn the_truth_passes() {
    let ended = soak(&[]);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let row = String::from_utf8_lossy(&ended.stdout);
    assert!(row.starts_with("| liar | 3") && row.ends_with("|\n"), "{row}");
    // Refused, processes forked and killed, keys.
    let counts: Vec<u64> = row.split(" | ").skip(1).filter_map(|count| count.parse().ok()).collect();
    assert!([4, 7, 8, 9].iter().all(|column| counts[*column] > 0), "{row}");
}

#[test]
fn an_answer_to_the_command_before_is_caught() {
    is_caught("behind", &WRONG);
}

#[test]
fn a_failure_without_a_fault_is_caught() {
    is_caught("broken", &["transmit answers IO_ERROR; context 0, no fault"]);
}

#[test]
fn two_descriptors_are_caught() {
    is_caught("handles", &[" to poll while a response is due"]);
}

#[test]
fn memory_that_stays_is_caught() {
    is_caught("heap", &[" bytes allocated where there were "]);
}

#[test]
fn a_lost_key_is_caught() {
    is_caught("lost", &[LOST]);
}

#[test]
fn a_key_that_a_forked_process_has_lost_is_caught() {
    is_caught("lost-there", &[LOST]);
}

#[test]
fn an_answer_to_the_command_before_is_caught_in_a_forked_process() {
    is_caught("behind-there", &WRONG);
}

#[test]
fn a_failure_without_a_fault_is_caught_in_a_forked_process() {
    is_caught("broken-there", &[": transmit answers IO_ERROR; context 0, no fault"]);
}

#[test]
fn a_forked_process_that_crashes_is_caught() {
    is_caught("crash-there", &["SIGABRT"]);
}
