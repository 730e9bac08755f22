// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the transport with the real libtpms. It is one TPM per process, so these tests take turns.

use super::*;
use crate::power::{STARTUP_CLEAR, TPM_RC_INITIALIZE, TPM_RC_SUCCESS};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tcti_core::Tcti;
use tcti_core::session::Received;
use tcti_core::testing::{GET_RANDOM, this_program};
use tcti_core::{ReturnCode, Session};

pub(super) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const ALONE: &str = "TCTI_LIBTPMS_TEST_ALONE";

/// Returns whether this process runs this test alone. If not, runs one that does.
fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut alone = this_program();
    alone.args(["--exact", &format!("tests::{test}")]).env(ALONE, "1");
    let output = alone.output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    false
}

/// Returns the state that a TPM would store.
fn state(tpm: &mut Tpm) -> Blobs {
    tpm.with_state(|permanent, volatile| Blobs {
        permanent: permanent.to_vec().into(),
        volatile: volatile.to_vec().into(),
    })
    .unwrap()
}

pub(super) fn open(path: Option<&Path>) -> Result<Session<Libtpms>> {
    let conf = path.map(|path| CString::new(path.to_str().unwrap()).unwrap());
    Libtpms::open(Conf::new(conf.as_deref())).map(Session::new)
}

pub(super) fn run(session: &mut Session<Libtpms>, command: &[u8]) -> Vec<u8> {
    session.transmit(command).unwrap();
    match session.receive(Some(4096), Wait::Forever) {
        Ok(Received::Response(response)) => response.to_vec(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn code(session: &mut Session<Libtpms>, command: &[u8]) -> u32 {
    Header::parse(&run(session, command)).unwrap().code
}

/// Returns TPM2_PCR_Event of one byte for a PCR, with an empty password.
fn extend(pcr: u8) -> Vec<u8> {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 0, 0, 0, 0x01, 0x3c, 0, 0, 0, pcr];
    command.extend([0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0]);
    command.extend([0, 1, b'x']);
    command[5] = u8::try_from(command.len()).unwrap();
    command
}

/// Reads one PCR of the SHA-256 bank with TPM2_PCR_Read; returns its 32 bytes.
fn pcr(session: &mut Session<Libtpms>, pcr: u8) -> Vec<u8> {
    let mut command = vec![0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0, 0, 0];
    command[17 + usize::from(pcr / 8)] = 1 << (pcr % 8);
    let response = run(session, &command);
    response[response.len() - 32..].to_vec()
}

#[test]
fn a_new_tpm_is_started_automatically() {
    let _turn = turn();
    let mut session = open(None).unwrap();
    assert_eq!(run(&mut session, GET_RANDOM).len(), 20);
    assert_eq!(code(&mut session, &STARTUP_CLEAR), TPM_RC_INITIALIZE);
}

/// TPM2_Startup(TPM_SU_STATE) and TPM2_Shutdown(TPM_SU_STATE) (Part 3, sections 9.3 and 9.4).
const STARTUP_STATE: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 1];
const SHUTDOWN_STATE: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 1];
const TPM_RC_VALUE: u32 = 0x1c4; // of the first parameter

#[test]
fn the_caller_may_send_the_first_startup() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    for path in [None, Some(dir.path().join("state"))] {
        let mut session = open(path.as_deref()).unwrap();
        for _ in 0..2 {
            assert_eq!(code(&mut session, &STARTUP_CLEAR), TPM_RC_SUCCESS);
            assert_eq!(code(&mut session, &STARTUP_CLEAR), TPM_RC_INITIALIZE, "it is started already");
            assert_eq!(code(&mut session, &extend(10)), TPM_RC_SUCCESS);
            session.preempt(Libtpms::reset).unwrap();
        }
        assert_eq!(code(&mut session, &STARTUP_STATE), TPM_RC_VALUE, "nothing was saved");
        assert_eq!(pcr(&mut session, 10), [0; 32], "started automatically");
    }
}

#[test]
fn startup_resumes_a_saved_state() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut session = open(Some(&path)).unwrap();
    assert_eq!(code(&mut session, &extend(10)), TPM_RC_SUCCESS);
    let value = pcr(&mut session, 10);
    assert_eq!(code(&mut session, &SHUTDOWN_STATE), TPM_RC_SUCCESS);
    session.preempt(Libtpms::reset).unwrap();
    assert_eq!(code(&mut session, &STARTUP_STATE), TPM_RC_SUCCESS);
    assert_eq!(pcr(&mut session, 10), value);
    assert_eq!(code(&mut session, &SHUTDOWN_STATE), TPM_RC_SUCCESS);
    drop(session);
    let mut session = open(Some(&path)).unwrap();
    assert_eq!(code(&mut session, &STARTUP_STATE), TPM_RC_SUCCESS);
    assert_eq!(pcr(&mut session, 10), value);
}

#[test]
fn startup_as_the_first_command_power_cycles_the_tpm() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    code(&mut open(Some(&path)).unwrap(), &extend(10));
    let mut session = open(Some(&path)).unwrap();
    assert_eq!(code(&mut session, &STARTUP_CLEAR), TPM_RC_SUCCESS);
    assert_eq!(pcr(&mut session, 10), [0; 32]);
}

#[test]
fn a_process_has_one_tpm() {
    let _turn = turn();
    let first = open(None).unwrap();
    assert_eq!(open(None).err(), Some(ReturnCode::IO_ERROR.into()));
    drop(first);
    open(None).unwrap();
}

#[test]
fn without_a_file_the_state_ends_with_the_context() {
    let _turn = turn();
    let mut session = open(None).unwrap();
    code(&mut session, &extend(16));
    assert_ne!(pcr(&mut session, 16), [0; 32]);
    drop(session);
    assert_eq!(pcr(&mut open(None).unwrap(), 16), [0; 32]);
}

#[test]
fn with_a_file_the_tpm_resumes() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut session = open(Some(&path)).unwrap();
    assert_eq!(code(&mut session, &extend(16)), TPM_RC_SUCCESS);
    let value = pcr(&mut session, 16);
    drop(session);
    assert_eq!(pcr(&mut open(Some(&path)).unwrap(), 16), value);
}

#[test]
fn a_reset_loses_the_volatile_state() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    for path in [None, Some(dir.path().join("state"))] {
        let mut session = open(path.as_deref()).unwrap();
        code(&mut session, &extend(10));
        assert_ne!(pcr(&mut session, 10), [0; 32]);
        session.preempt(Libtpms::reset).unwrap();
        assert_eq!(pcr(&mut session, 10), [0; 32]);
    }
}

#[test]
fn the_locality_reaches_the_tpm() {
    let _turn = turn();
    let mut session = open(None).unwrap();
    // PCR 20 may be extended from locality 1 and above (PC Client Platform TPM Profile, section 4.6).
    const TPM_RC_LOCALITY: u32 = 0x907;
    assert_eq!(code(&mut session, &extend(20)), TPM_RC_LOCALITY);
    session.set_locality(2).unwrap();
    assert_eq!(code(&mut session, &extend(20)), TPM_RC_SUCCESS);
}

/// Runs in a process of its own, which the limit applies to.
#[test]
fn a_command_whose_state_cannot_be_stored_has_no_effect() {
    if !is_alone("a_command_whose_state_cannot_be_stored_has_no_effect") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut session = open(Some(&path)).unwrap();
    let before = pcr(&mut session, 16);
    let unlimited = getrlimit(Resource::Fsize);
    for limit in [0, 1000, 1 << 20] {
        setrlimit(Resource::Fsize, Rlimit { current: Some(limit), ..unlimited }).unwrap();
        assert_eq!(session.transmit(&extend(16)), Err(ReturnCode::IO_ERROR.into()));
    }
    setrlimit(Resource::Fsize, unlimited).unwrap();
    assert_eq!(pcr(&mut session, 16), before);
    assert_eq!(code(&mut session, &extend(16)), TPM_RC_SUCCESS);
    assert_ne!(pcr(&mut session, 16), before);
}

#[test]
fn failure_mode_does_not_outlive_its_command() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut tpm = Libtpms::open(Conf::new(Some(&CString::new(path.to_str().unwrap()).unwrap()))).unwrap();
    let file = std::fs::read(&path).unwrap();
    let failure = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x01];
    // The effect of the command that led to failure mode is undone.
    let response = tpm.transact(|tpm| tpm.execute(0, &extend(16)).map(|_| failure.to_vec().into())).unwrap();
    assert_eq!(*response, failure);
    assert_eq!(std::fs::read(&path).unwrap(), file);
    assert_eq!(pcr(&mut Session::new(tpm), 16), [0; 32]);
    assert_eq!(pcr(&mut open(Some(&path)).unwrap(), 16), [0; 32]);
}

#[test]
fn a_damaged_state_is_an_error_and_is_not_modified() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut session = open(Some(&path)).unwrap();
    for _ in 0..2 {
        assert_eq!(code(&mut session, GET_RANDOM), TPM_RC_SUCCESS); // now each record has a volatile state
    }
    drop(session);
    let with_records = std::fs::read(&path).unwrap();
    let length = |at: usize| u32::from_be_bytes(*with_records[at..].first_chunk().unwrap()) as usize;
    let permanent = length(0);
    let end = 4 + permanent + 4 + length(4 + permanent);
    for good in [&with_records[..end], &with_records] {
        for at in [8, end - 20, permanent + 20] {
            let mut damaged = good.to_vec();
            damaged[at] ^= 0xff;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(open(Some(&path)).err(), Some(ReturnCode::IO_ERROR.into()), "byte {at}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged);
        }
        std::fs::write(&path, good).unwrap();
        assert_eq!(run(&mut open(Some(&path)).unwrap(), GET_RANDOM).len(), 20);
    }
}

#[test]
fn the_file_has_mode_0600() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    drop(open(Some(&path)).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn changes_by_another_process_are_picked_up() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    drop(open(Some(&path)).unwrap());
    let before = std::fs::read(&path).unwrap();
    let mut session = open(Some(&path)).unwrap();
    code(&mut session, &extend(16));
    let extended = pcr(&mut session, 16);
    drop(session);
    let after = std::fs::read(&path).unwrap();

    std::fs::write(&path, &before).unwrap();
    let mut session = open(Some(&path)).unwrap();
    assert_eq!(pcr(&mut session, 16), [0; 32]);
    let next = dir.path().join("next");
    std::fs::write(&next, &after).unwrap();
    std::fs::rename(&next, &path).unwrap(); // as a process that replaces it
    assert_eq!(pcr(&mut session, 16), extended);
}

#[test]
fn a_forked_tpm_returns_different_random_numbers() {
    let _turn = turn();
    let mut tpm = Libtpms::open(Conf::new(None)).unwrap();
    assert_eq!(tpm.transact(|tpm| tpm.execute(0, GET_RANDOM)).unwrap().len(), 20);
    let state = state(&mut tpm.tpm);
    let mut copy = |inherited: bool| {
        tpm.tpm.power_on(state.clone()).unwrap();
        if inherited {
            tpm.after_fork(Inheritance::Copies);
        }
        tpm.transact(|tpm| tpm.execute(0, GET_RANDOM)).unwrap()
    };
    assert_eq!(copy(false), copy(false), "the generator is part of the state");
    assert_ne!(copy(true), copy(false));
    assert_ne!(copy(true), copy(true));
}

#[test]
fn a_command_that_fails_after_its_execution_is_undone() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut tpm = Libtpms::open(Conf::new(Some(&CString::new(path.to_str().unwrap()).unwrap()))).unwrap();
    let executed = |tpm: &mut Tpm| tpm.execute(0, &extend(16)).and(Err(ReturnCode::MEMORY.into()));
    assert_eq!(tpm.transact(executed), Err(ReturnCode::MEMORY.into()));
    std::fs::write(&path, "no state").unwrap();
    assert_eq!(tpm.transact(|tpm| tpm.execute(0, GET_RANDOM)), Err(ReturnCode::IO_ERROR.into()));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(pcr(&mut Session::new(tpm), 16), [0; 32]);
    assert_eq!(pcr(&mut open(Some(&path)).unwrap(), 16), [0; 32]);
}

#[test]
fn no_random_numbers_repeat_after_the_file_was_removed() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut tpm = Libtpms::open(Conf::new(Some(&CString::new(path.to_str().unwrap()).unwrap()))).unwrap();
    assert_eq!(tpm.transact(|tpm| tpm.execute(0, GET_RANDOM)).unwrap().len(), 20);
    let earlier = state(&mut tpm.tpm);
    let mut random = |removed: bool| {
        if removed {
            std::fs::remove_file(&path).unwrap();
        }
        tpm.tpm.power_on(earlier.clone()).unwrap(); // without the random numbers that another process has used since
        tpm.transact(|tpm| tpm.execute(0, GET_RANDOM)).unwrap()
    };
    assert_eq!(random(false), random(false), "the generator is part of the state");
    assert_ne!(random(true), random(false));
    assert_ne!(random(true), random(true));
}

#[test]
fn a_forked_tpm_that_was_not_started_returns_different_random_numbers() {
    let _turn = turn();
    let mut tpm = Libtpms::open(Conf::new(None)).unwrap();
    let state = state(&mut tpm.tpm);
    assert!(state.volatile.is_empty());
    let mut copy = || {
        tpm.tpm.power_on(state.clone()).unwrap();
        tpm.after_fork(Inheritance::Copies);
        tpm.transact(|tpm| tpm.execute(0, GET_RANDOM)).unwrap()
    };
    assert_ne!(copy(), copy());
}
