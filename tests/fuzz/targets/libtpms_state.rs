// SPDX-License-Identifier: BSD-2-Clause
//! Arbitrary and damaged state files of libtpms: an invalid file is an error and stays unchanged, a valid file is read
//! as it was written. Some inputs go to libtpms itself, but only with a state that it has written, because the content
//! of a state is not under test.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tcti_core::Tcti;
use tcti_core::session::Received;
use tcti_core::testing::GET_RANDOM;
use tcti_core::{Conf, Open, ReturnCode, Session, Wait};
use tcti_libtpms::Libtpms;
use tcti_libtpms::state::{FileState, StateFile};
use tcti_libtpms::sys::Blobs;

/// The damage to a file of a real TPM.
#[derive(Arbitrary, Debug)]
enum Damage {
    Cut(u16),
    Add(Vec<u8>),
    Zeroes(u8),
    Length {
        volatile: bool,
        plus: i8,
    },
    /// Changed bits of any byte, of a record for example.
    Bits(u32, u8),
}

#[derive(Arbitrary, Debug)]
enum Input {
    /// A file of any bytes.
    Bytes(Vec<u8>),
    /// A file with these two parts, and these bytes after them.
    Parts(Vec<u8>, Vec<u8>, Vec<u8>),
    /// A file of a real TPM, damaged.
    Real(Option<Damage>),
}

/// A directory of this process, and the state of a real TPM.
struct World {
    file: PathBuf,
    conf: CString,
    real: Vec<u8>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    // In memory, which is faster than a disk.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory").keep();
    let file = dir.join("state");
    let conf = CString::new(file.to_str().expect("a path")).expect("no NUL");
    let mut session = Session::new(Libtpms::open(Conf::new(Some(&conf))).expect("a new TPM"));
    for _ in 0..4 {
        session.transmit(GET_RANDOM).expect("it is started");
        assert!(matches!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(_))));
    }
    drop(session); // each record has a volatile state
    let real = fs::read(&file).expect("its state");
    World { file, conf, real }
});

fn encode(permanent: &[u8], volatile: &[u8], rest: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| u32::try_from(part.len()).expect("not so large").to_be_bytes();
    [&length(permanent), permanent, &length(volatile), volatile, rest].concat()
}

/// Returns the two parts of a file, or `None` if it is not a state file. Only the real file has records.
fn model(bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let with_records = WORLD.real.len();
    if bytes.is_empty() {
        return Some((Vec::new(), Vec::new()));
    }
    if bytes.len() == with_records && bytes != WORLD.real {
        return None;
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Some((Vec::new(), Vec::new()));
    }
    let mut at = 0_usize;
    let mut take = |count: usize| {
        let part = bytes.get(at..at.checked_add(count)?)?;
        at += count;
        Some(part)
    };
    let mut part = || {
        let size = u32::from_be_bytes(take(4)?.try_into().ok()?);
        Some(take(size as usize)?.to_vec())
    };
    let (permanent, volatile) = (part()?, part()?);
    // The C module enlarges a file, and when its process is killed the file stays so.
    let behind = if bytes.len() >= with_records { with_records } else { at };
    let is_alone = bytes[behind..].iter().all(|byte| *byte == 0);
    match permanent.is_empty() {
        true => (is_alone && bytes.len() > with_records).then_some((Vec::new(), Vec::new())),
        false => is_alone.then_some((permanent, volatile)),
    }
}

fn damaged(damage: &Damage) -> Vec<u8> {
    let mut bytes = WORLD.real.clone();
    match damage {
        Damage::Cut(count) => bytes.truncate(bytes.len().saturating_sub(usize::from(*count) + 1)),
        Damage::Add(more) => bytes.extend(more),
        Damage::Zeroes(count) => bytes.extend(vec![0; (*count).into()]),
        Damage::Length { volatile, plus } => {
            let first = u32::from_be_bytes(bytes[..4].try_into().expect("a length")) as usize;
            let at = if *volatile { 4 + first } else { 0 };
            let length = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("a length"));
            let length = length.wrapping_add_signed((*plus).into());
            bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        Damage::Bits(at, bits) => {
            let at = *at as usize % bytes.len();
            bytes[at] ^= bits;
        }
    }
    bytes
}

/// Checks a file with damaged records: it has the state of the real file, or is an error.
fn check_records(file: &Path, bytes: &[u8]) {
    fs::write(file, bytes).expect("a file");
    match StateFile::new(file).lock().expect("no other process has the lock").read_changes() {
        Ok(FileState::State(state)) => {
            let (permanent, volatile) = model(&WORLD.real).expect("a state");
            assert!(state == Blobs { permanent: permanent.into(), volatile: volatile.into() }, "another state");
        }
        Ok(FileState::None | FileState::Removed) => panic!("nothing was known"),
        Err(error) => {
            assert_eq!(error.code(), ReturnCode::IO_ERROR);
            assert!(fs::read(file).expect("the file exists") == bytes, "the file is unchanged");
        }
    }
}

/// Checks reading and writing, without libtpms.
fn check(file: &Path, bytes: &[u8]) {
    fs::write(file, bytes).expect("a file");
    let mut state_file = StateFile::new(file);
    let mut locked = state_file.lock().expect("no other process has the lock");
    let state = locked.read_changes().map(|state| match state {
        FileState::State(blobs) => Some((blobs.permanent.to_vec(), blobs.volatile.to_vec())),
        FileState::None | FileState::Removed => None,
    });
    match (state, model(bytes)) {
        (Err(error), None) => {
            assert_eq!(error.code(), ReturnCode::IO_ERROR);
            drop(locked);
            assert_eq!(fs::read(file).expect("the file exists"), bytes, "the file is unchanged");
        }
        (Ok(Some(parts)), Some(wanted)) => {
            assert_eq!(parts, wanted);
            let (permanent, volatile) = parts;
            // A new TPM has a permanent state by then.
            let permanent = if permanent.is_empty() { vec![1] } else { permanent };
            locked.store(&permanent, &volatile).expect("the state is stored");
            assert!(fs::read(file).expect("the file exists").starts_with(&encode(&permanent, &volatile, &[])));
            let mut locked = state_file.lock().expect("no other process has the lock");
            assert!(matches!(locked.read_changes(), Ok(FileState::None)), "no other process has changed it");
            locked.accept().expect("the state is accepted");
            let known = Blobs { permanent: permanent.into(), volatile: volatile.into() };
            let mut locked = StateFile::new(file);
            let mut locked = locked.lock().expect("no other process has the lock");
            assert!(
                locked.read_changes().is_ok_and(|state| state == FileState::State(known)),
                "the next process finds it"
            );
        }
        (state, wanted) => panic!("{state:?}, but it should be {wanted:?}"),
    }
    let names = fs::read_dir(file.parent().expect("a directory")).expect("a directory");
    assert_eq!(names.count(), 1, "no other file is left");
}

/// Checks the whole module.
fn open(bytes: &[u8]) {
    let parts = model(bytes);
    // The content of a state is not under test.
    if parts.is_some() && parts != model(&WORLD.real) {
        return;
    }
    fs::write(&WORLD.file, bytes).expect("a file");
    match (Libtpms::open(Conf::new(Some(&WORLD.conf))), parts) {
        (Ok(tpm), Some(_)) => {
            let mut session = Session::new(tpm);
            session.transmit(GET_RANDOM).expect("a command");
            let response = session.receive(Some(4096), Wait::Forever);
            assert!(matches!(response, Ok(Received::Response([0x80, 1, 0, 0, 0, 20, 0, 0, 0, 0, ..]))), "{response:?}");
        }
        (Err(error), None) => {
            assert_eq!(error.code(), ReturnCode::IO_ERROR);
            assert_eq!(fs::read(&WORLD.file).expect("the file exists"), bytes, "the file is unchanged");
        }
        (opened, parts) => panic!("opened: {}, a state: {}", opened.is_ok(), parts.is_some()),
    }
}

fuzz_target!(|input: Input| {
    tss2_fuzz::listen_to_log();
    match input {
        Input::Bytes(bytes) => check(&WORLD.file, &bytes),
        Input::Parts(permanent, volatile, rest) => check(&WORLD.file, &encode(&permanent, &volatile, &rest)),
        Input::Real(Some(Damage::Bits(at, bits))) => check_records(&WORLD.file, &damaged(&Damage::Bits(at, bits))),
        Input::Real(damage) => open(&damage.as_ref().map_or_else(|| WORLD.real.clone(), damaged)),
    }
});
