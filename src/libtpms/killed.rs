// SPDX-License-Identifier: BSD-2-Clause
//! A test with two processes that use one state file and are killed at random moments, again and again. After each kill the
//! file has every acknowledged command, and at most one more of each process.

use super::tests::{code, open, run, turn};
use super::*;
use crate::power::TPM_RC_SUCCESS;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;
use tcti_core::Session;
use tcti_core::testing::{is_emulated, itself};

const ROUNDS: u64 = 120;

/// Environment variables of a process: the path of the state file, and its number.
const STATE: &str = "TCTI_LIBTPMS_TEST_STATE";
const NUMBER: &str = "TCTI_LIBTPMS_TEST_NUMBER";

/// Returns TPM2_NV_DefineSpace for a counter (Part 3, section 31.3).
fn define(number: u8) -> Vec<u8> {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 45, 0, 0, 0x01, 0x2a, 0x40, 0, 0, 0x01, 0, 0, 0, 9];
    command.extend([0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 14]);
    command.extend([0x01, 0x50, 0, number, 0, 0x0b, 0, 0x02, 0, 0x12, 0, 0, 0, 8]); // owner read and write, nt=counter
    command
}

/// Returns TPM2_NV_Increment (section 31.7).
fn increment(number: u8) -> Vec<u8> {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 31, 0, 0, 0x01, 0x34, 0x40, 0, 0, 0x01, 0x01, 0x50, 0, number];
    command.extend([0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0]);
    command
}

/// Reads a counter with TPM2_NV_Read (section 31.13).
fn counter(session: &mut Session<Libtpms>, number: u8) -> u64 {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 35, 0, 0, 0x01, 0x4e, 0x40, 0, 0, 0x01, 0x01, 0x50, 0, number];
    command.extend([0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, 0, 8, 0, 0]);
    let response = run(session, &command);
    u64::from_be_bytes(response[16..24].try_into().unwrap())
}

/// Returns TPM2_PCR_Event of one byte for PCR 10 (section 22.3).
fn event() -> Vec<u8> {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 30, 0, 0, 0x01, 0x3c, 0, 0, 0, 10];
    command.extend([0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, 0, 1, b'x']);
    command
}

/// Returns the PCR update counter from TPM2_PCR_Read (section 22.4).
fn changes(session: &mut Session<Libtpms>) -> u64 {
    let command = [0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0, 4, 0];
    u32::from_be_bytes(run(session, &command)[10..14].try_into().unwrap()).into()
}

/// Written by a process to its standard error when a command is acknowledged.
const INCREMENTED: u8 = 1;
const EXTENDED: u8 = 2;

/// The body of such a process. Does nothing without the environment variables, as an ordinary test.
#[test]
fn counts_until_it_is_killed() {
    let (Ok(path), Ok(number)) = (std::env::var(STATE), std::env::var(NUMBER)) else { return };
    let mut session = open(Some(Path::new(&path))).unwrap();
    loop {
        assert_eq!(code(&mut session, &increment(number.parse().unwrap())), TPM_RC_SUCCESS);
        std::io::stderr().write_all(&[INCREMENTED]).unwrap();
        for _ in 0..3 {
            assert_eq!(code(&mut session, &event()), TPM_RC_SUCCESS);
            std::io::stderr().write_all(&[EXTENDED]).unwrap();
        }
    }
}

fn start(path: &Path, number: u8) -> Child {
    let mut command = itself();
    command.args(["--exact", "killed::counts_until_it_is_killed", "--nocapture"]);
    command.env(STATE, path).env(NUMBER, number.to_string()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn a_kill_at_any_moment_loses_no_acknowledged_command() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut session = open(Some(&path)).unwrap();
    let mut counters = [0, 1].map(|number| {
        assert_eq!(code(&mut session, &define(number)), TPM_RC_SUCCESS);
        assert_eq!(code(&mut session, &increment(number)), TPM_RC_SUCCESS);
        counter(&mut session, number)
    });
    let before = changes(&mut session);
    assert_eq!(code(&mut session, &event()), TPM_RC_SUCCESS);
    let mut seen = changes(&mut session);
    let of_one_event = seen - before;
    let mut in_flight = 0;
    for round in 0..if is_emulated() { ROUNDS / 10 } else { ROUNDS } {
        let mut children = [0, 1].map(|number| start(&path, number));
        // Wait until both are running.
        children.iter_mut().for_each(|child| child.stderr.as_mut().unwrap().read_exact(&mut [0]).unwrap());
        let told = children.map(|mut child| {
            std::thread::sleep(Duration::from_micros(round * 7_919 % 1_500)); // varies the moment of the kill
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.signal(), Some(9), "the process failed by itself: {output:?}");
            [INCREMENTED, EXTENDED].map(|what| output.stderr.iter().filter(|byte| **byte == what).count() as u64)
        });
        let mut under_way = 2;
        for (number, (counter_before, told)) in (0..).zip(counters.iter_mut().zip(&told)) {
            let now = counter(&mut session, number);
            let (told, counted) = (told[0] + 1, now - *counter_before); // the first byte was read above
            assert!((told..=told + 1).contains(&counted), "round {round}: {counted} increments, {told} acknowledged");
            under_way -= counted - told;
            *counter_before = now;
        }
        in_flight += 2 - under_way;
        let now = changes(&mut session);
        let (told, counted) = (told[0][1] + told[1][1], (now - seen) / of_one_event);
        assert!((told..=told + under_way).contains(&counted), "round {round}: {counted} events, {told} acknowledged");
        seen = now;
    }
    assert!(in_flight > 0 || is_emulated(), "no process was killed during a command");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no other file is left");
}
