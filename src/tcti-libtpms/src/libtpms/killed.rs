// SPDX-License-Identifier: BSD-2-Clause
//! Processes that use one state file in turn and are killed in the middle of what they do, hundreds of times. What was
//! acknowledged is there then, and at most the command under way of each.

use super::tests::{code, open, run, turn};
use super::*;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tcti_core::Session;

const ROUNDS: u64 = 200;

/// Where a process finds the state file, and which it is.
const STATE: &str = "TCTI_LIBTPMS_TEST_STATE";
const NUMBER: &str = "TCTI_LIBTPMS_TEST_NUMBER";

/// TPM2_NV_DefineSpace of a counter (Part 3, section 31.3).
fn define(number: u8) -> Vec<u8> {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 45, 0, 0, 0x01, 0x2a, 0x40, 0, 0, 0x01, 0, 0, 0, 9];
    command.extend([0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 14]);
    command.extend([0x01, 0x50, 0, number, 0, 0x0b, 0, 0x02, 0, 0x12, 0, 0, 0, 8]); // of the owner, nt=counter
    command
}

/// TPM2_NV_Increment (section 31.7).
fn increment(number: u8) -> Vec<u8> {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 31, 0, 0, 0x01, 0x34, 0x40, 0, 0, 0x01, 0x01, 0x50, 0, number];
    command.extend([0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0]);
    command
}

/// TPM2_NV_Read (section 31.13).
fn counter(session: &mut Session<Libtpms>, number: u8) -> u64 {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 35, 0, 0, 0x01, 0x4e, 0x40, 0, 0, 0x01, 0x01, 0x50, 0, number];
    command.extend([0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, 0, 8, 0, 0]);
    let response = run(session, &command);
    u64::from_be_bytes(response[16..24].try_into().unwrap())
}

/// TPM2_PCR_Event of one byte for PCR 10 (section 22.3).
fn event() -> Vec<u8> {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 30, 0, 0, 0x01, 0x3c, 0, 0, 0, 10];
    command.extend([0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, 0, 1, b'x']);
    command
}

/// How many changes of PCRs there were, which is in the response of TPM2_PCR_Read (section 22.4).
fn changes(session: &mut Session<Libtpms>) -> u64 {
    let command = [0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0, 4, 0];
    u32::from_be_bytes(run(session, &command)[10..14].try_into().unwrap()).into()
}

/// What the processes of one number were told.
fn acknowledged(path: &Path, number: u8) -> [u64; 2] {
    let bytes = fs::read(path.with_extension(number.to_string())).unwrap_or_default();
    [b'n', b'e'].map(|kind| bytes.iter().filter(|byte| **byte == kind).count() as u64)
}

/// Such a process; not a test, if it has no state.
#[test]
fn counts_until_it_is_killed() {
    let (Ok(path), Ok(number)) = (std::env::var(STATE), std::env::var(NUMBER)) else { return };
    let path = Path::new(&path);
    let mut log = OpenOptions::new().append(true).create(true).open(path.with_extension(&number)).unwrap();
    let mut session = open(Some(path)).unwrap();
    loop {
        assert_eq!(code(&mut session, &increment(number.parse().unwrap())), TPM_RC_SUCCESS);
        log.write_all(b"n").unwrap();
        for _ in 0..3 {
            assert_eq!(code(&mut session, &event()), TPM_RC_SUCCESS);
            log.write_all(b"e").unwrap();
        }
    }
}

fn start(path: &Path, number: u8) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "libtpms::killed::counts_until_it_is_killed", "--nocapture"]);
    command.env(STATE, path).env(NUMBER, number.to_string()).stdout(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn a_process_that_is_killed_at_any_moment_leaves_what_was_acknowledged() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut session = open(Some(&path)).unwrap();
    let mut counts = [0; 2];
    for number in 0..2 {
        assert_eq!(code(&mut session, &define(number)), TPM_RC_SUCCESS);
        assert_eq!(code(&mut session, &increment(number)), TPM_RC_SUCCESS);
        counts[usize::from(number)] = counter(&mut session, number);
        File::create(path.with_extension(number.to_string())).unwrap();
    }
    let before = changes(&mut session);
    assert_eq!(code(&mut session, &event()), TPM_RC_SUCCESS);
    let mut seen = changes(&mut session);
    let of_one_event = seen - before;
    let mut in_flight = 0;
    for round in 0..ROUNDS {
        let before = [0, 1].map(|number| acknowledged(&path, number));
        let children = [0, 1].map(|number| start(&path, number));
        // Both are at work.
        while [0, 1].iter().any(|number| acknowledged(&path, *number)[0] == before[usize::from(*number)][0]) {
            std::thread::yield_now();
        }
        for (number, mut child) in children.into_iter().enumerate() {
            // When they are killed: at any moment.
            std::thread::sleep(Duration::from_micros(round * 7_919 % (900 * (number as u64 + 1))));
            child.kill().unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(9), "it failed by itself");
        }
        let mut most = 0;
        for number in 0..2 {
            let at = usize::from(number);
            let told = acknowledged(&path, number)[0] - before[at][0];
            let counted = counter(&mut session, number) - counts[at];
            assert!((told..=told + 1).contains(&counted), "round {round}: {counted} increments for {told}");
            counts[at] += counted;
            most += 1 - (counted - told); // one command under way, and this was it
            in_flight += counted - told;
        }
        let told: u64 =
            [0, 1].map(|number| acknowledged(&path, number)[1] - before[usize::from(number)][1]).iter().sum();
        let now = changes(&mut session);
        let happened = (now - seen) / of_one_event;
        assert!((told..=told + most).contains(&happened), "round {round}: {happened} events for {told}");
        seen = now;
    }
    assert!(in_flight > 0, "none was killed in the middle");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing else is left");
}
