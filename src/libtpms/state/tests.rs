// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the state file without a TPM.

use super::*;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};

fn blobs() -> Blobs {
    Blobs { permanent: vec![1, 2, 3].into(), volatile: vec![4, 5].into() }
}

fn others() -> Blobs {
    Blobs { permanent: vec![9, 9, 9].into(), volatile: vec![8, 8].into() }
}

/// Encodes a state in the format of the C module.
fn c_format(blobs: &Blobs) -> Vec<u8> {
    let length = |blob: &[u8]| u32::try_from(blob.len()).unwrap().to_be_bytes();
    [&length(&blobs.permanent), &blobs.permanent[..], &length(&blobs.volatile), &blobs.volatile].concat()
}

fn load(path: &Path) -> Result<Blobs> {
    match StateFile::new(path).lock()?.read_changes()? {
        FileState::State(blobs) => Ok(blobs),
        FileState::None | FileState::Removed => panic!("no state was known"),
    }
}

/// Stores a state as a command does.
fn store(file: &mut StateFile, blobs: &Blobs) -> Result<()> {
    let mut locked = file.lock()?;
    locked.read_changes()?;
    locked.store(&blobs.permanent, &blobs.volatile)
}

/// Decodes the front, as the C module does.
fn front(path: &Path) -> Blobs {
    let bytes = std::fs::read(path).unwrap();
    let blob = |at: usize| {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        bytes[at + 4..at + 4 + length].to_vec()
    };
    let permanent = blob(0);
    Blobs { volatile: blob(4 + permanent.len()).into(), permanent: permanent.into() }
}

#[test]
fn the_file_begins_with_the_format_of_the_c_module_and_has_mode_0600() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    assert!(load(&path).unwrap() == Blobs::default(), "a new TPM");
    assert!(!path.exists(), "nothing was stored");
    store(&mut StateFile::new(&path), &blobs()).unwrap();
    assert!(std::fs::read(&path).unwrap().starts_with(&c_format(&blobs())));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(load(&path).unwrap() == blobs());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no other file is left");
}

#[test]
fn a_damaged_file_is_an_error_and_is_not_modified() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let c_format = c_format(&blobs());
    let mut damaged: Vec<Vec<u8>> = (1..c_format.len()).map(|cut| c_format[..cut].to_vec()).collect();
    damaged.extend([[&c_format[..], &[1]].concat(), vec![0xff; 13], vec![0, 0, 0, 0, 0, 0, 0, 1]]);
    for bytes in damaged.into_iter().filter(|bytes| !is_blank(bytes)) {
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(load(&path).err(), Some(ReturnCode::IO_ERROR.into()), "{bytes:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

/// Truncated files are among them, except the one that is a valid file of the C module.
#[test]
fn a_damaged_file_with_records_is_an_error_and_is_not_modified() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut file = StateFile::new(&path);
    store(&mut file, &others()).unwrap();
    store(&mut file, &blobs()).unwrap();
    let good = std::fs::read(&path).unwrap();
    let c_format = c_format(&blobs());
    let is_valid = |cut: &usize| *cut == c_format.len();
    let mut damaged: Vec<Vec<u8>> = (1..40).filter(|cut| !is_valid(cut)).map(|cut| good[..cut].to_vec()).collect();
    damaged.extend((1..20).map(|parts| good[..good.len() * parts / 20].to_vec()));
    damaged.extend([good[..good.len() - 1].to_vec(), [&good[..], b"x"].concat(), vec![0xff; good.len()]]);
    damaged.extend((0..c_format.len()).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        bytes
    }));
    for (number, bytes) in damaged.iter().enumerate().filter(|(_, bytes)| !is_blank(bytes)) {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(load(&path).err(), Some(ReturnCode::IO_ERROR.into()), "{number}");
        assert_eq!(store(&mut file, &others()), Err(ReturnCode::IO_ERROR.into()), "{number}");
        assert!(std::fs::read(&path).unwrap() == *bytes, "{number}");
    }
    std::fs::write(&path, &good).unwrap();
    assert!(load(&path).unwrap() == blobs());
}

/// Returns whether these are zeroes only, as the first bytes of the length at the front.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// As for the C module, which extends any file when it opens it.
#[test]
fn zeroes_alone_are_a_new_tpm() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    for size in (0..20).chain([2048, 4096, 100_000, 4 << 20]) {
        std::fs::write(&path, vec![0; size]).unwrap();
        assert!(load(&path).unwrap() == Blobs::default(), "{size}");
        let mut file = StateFile::new(&path);
        store(&mut file, &blobs()).unwrap();
        assert!(load(&path).unwrap() == blobs(), "{size}");
    }
}

#[test]
fn zeroes_after_the_state_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    std::fs::write(&path, [&c_format(&blobs())[..], &[0; 100]].concat()).unwrap();
    assert!(load(&path).unwrap() == blobs());
}

/// The C module maps the file, extends it by up to 2048 zeroes, and overwrites the front. When it exits it truncates the
/// file after the state; when it is killed it does not.
#[test]
fn changes_by_the_c_module_are_picked_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut file = StateFile::new(&path);
    for is_killed in [false, true, false, true] {
        store(&mut file, &blobs()).unwrap();
        assert!(front(&path) == blobs(), "it finds our state");
        let theirs = OpenOptions::new().write(true).open(&path).unwrap();
        theirs.set_len((theirs.metadata().unwrap().len() / 2048 + 1) * 2048).unwrap();
        assert!(load(&path).unwrap() == blobs(), "it has only opened the file");
        theirs.write_all_at(&c_format(&others()), 0).unwrap();
        if !is_killed {
            theirs.set_len(c_format(&others()).len() as u64).unwrap();
        }
        assert!(load(&path).unwrap() == others());
        assert!(file.lock().unwrap().read_changes() == Ok(FileState::State(others())));
        StateFile::new(&path)
            .lock()
            .map(|mut locked| locked.read_changes().and_then(|_| locked.accept()))
            .unwrap()
            .unwrap();
        assert!(load(&path).unwrap() == others(), "stored in our records");
        assert!(front(&path) == others());
    }
}

#[test]
fn a_kill_while_slots_are_created_keeps_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    store(&mut StateFile::new(&path), &others()).unwrap();
    let records = std::fs::read(&path).unwrap();
    for before in [Blobs::default(), blobs()] {
        let front = if before.permanent.is_empty() { vec![] } else { c_format(&before) };
        // A file of the size that creation begins with, and part of the records.
        for written in [0, 0x10_0000, 0x14_0000, records.len()] {
            let mut room = vec![0; records.len() + 1];
            room[..front.len()].copy_from_slice(&front);
            room[20_000..written.max(20_000)].copy_from_slice(&records[20_000..written.max(20_000)]);
            std::fs::write(&path, &room).unwrap();
            assert!(load(&path).unwrap() == before);
            store(&mut StateFile::new(&path), &Blobs { volatile: vec![1].into(), ..blobs() }).unwrap();
            assert!(load(&path).unwrap() == Blobs { volatile: vec![1].into(), ..blobs() });
        }
    }
}

#[test]
fn only_changes_by_another_process_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut ours = StateFile::new(&path);
    store(&mut ours, &blobs()).unwrap();
    assert!(ours.lock().unwrap().read_changes() == Ok(FileState::None));
    let (volatile, permanent) =
        (Blobs { volatile: vec![6].into(), ..blobs() }, Blobs { permanent: vec![9].into(), volatile: vec![].into() });
    for other in [volatile, permanent, blobs()] {
        store(&mut StateFile::new(&path), &other).unwrap();
        let mut locked = ours.lock().unwrap();
        assert!(locked.read_changes() == Ok(FileState::State(other.clone())));
        locked.accept().unwrap();
        let mut locked = ours.lock().unwrap();
        assert!(locked.read_changes() == Ok(FileState::None));
        assert!(locked.known().unwrap() == other);
    }
}

#[test]
fn a_change_that_was_not_accepted_is_reported_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut ours = StateFile::new(&path);
    store(&mut ours, &blobs()).unwrap();
    store(&mut StateFile::new(&path), &others()).unwrap();
    for _ in 0..2 {
        assert!(ours.lock().unwrap().read_changes() == Ok(FileState::State(others())));
    }
}

/// Tries one byte more than fits, and the largest state that does.
#[test]
fn a_state_that_is_too_large_is_an_error_and_the_previous_one_remains() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut file = StateFile::new(&path);
    store(&mut file, &blobs()).unwrap();
    let sized =
        |permanent, volatile| Blobs { permanent: vec![7; permanent].into(), volatile: vec![6; volatile].into() };
    for large in [sized(record::MAX_PERMANENT + 1, 1), sized(1, record::MAX_VOLATILE + 1)] {
        assert_eq!(store(&mut file, &large), Err(ReturnCode::IO_ERROR.into()));
        assert!(load(&path).unwrap() == blobs());
    }
    for _ in 0..2 {
        for state in [sized(record::MAX_PERMANENT, record::MAX_VOLATILE), sized(record::MAX_PERMANENT, 1), blobs()] {
            store(&mut file, &state).unwrap();
            assert!(load(&path).unwrap() == state);
            assert!(front(&path) == state);
        }
    }
}

#[test]
fn a_process_that_waited_reads_the_new_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    store(&mut StateFile::new(&path), &blobs()).unwrap();
    let locked = lock::tests::lock_as_another_process(&path);
    let second = std::thread::spawn({
        let path = path.clone();
        move || load(&path).unwrap()
    });
    locked.write_all_at(&c_format(&others()), 0).unwrap();
    locked.set_len(c_format(&others()).len() as u64).unwrap();
    drop(locked);
    assert!(second.join().unwrap() == others());
}

#[test]
fn a_removed_file_is_created_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut state = StateFile::new(&path);
    store(&mut state, &blobs()).unwrap();
    let empty = |path: &Path| File::create(path).map(drop);
    for lose in [|path: &Path| std::fs::remove_file(path), empty] {
        lose(&path).unwrap();
        let mut locked = state.lock().unwrap();
        assert!(locked.read_changes() == Ok(FileState::Removed));
        assert!(locked.known().unwrap() == blobs());
        locked.store(&blobs().permanent, &blobs().volatile).unwrap();
        assert!(load(&path).unwrap() == blobs());
    }
}

#[test]
fn a_file_that_was_restored_from_a_copy_is_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut state = StateFile::new(&path);
    store(&mut state, &others()).unwrap();
    let backup = std::fs::read(&path).unwrap();
    for copy in [c_format(&others()), backup] {
        store(&mut state, &blobs()).unwrap();
        std::fs::write(&path, copy).unwrap(); // as cp does
        assert!(state.lock().unwrap().read_changes() == Ok(FileState::State(others())));
    }
}

#[test]
fn no_other_file_is_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    for neighbour in [".state.tcti-libtpms.new", "state.new", "state.lock"] {
        let neighbour = dir.path().join(neighbour);
        std::fs::write(&neighbour, "mine").unwrap();
        store(&mut StateFile::new(&path), &blobs()).unwrap();
        assert_eq!(std::fs::read_to_string(&neighbour).unwrap(), "mine");
    }
}

#[test]
fn a_failed_first_store_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let large = Blobs { permanent: vec![1; record::MAX_PERMANENT + 1].into(), volatile: vec![].into() };
    assert_eq!(store(&mut StateFile::new(&path), &large), Err(ReturnCode::IO_ERROR.into()));
    assert!(!path.exists());
}

#[test]
fn a_program_that_changes_its_directory_keeps_its_file() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir(dir.path()).unwrap(); // no other test here uses it
    let mut state = StateFile::new(Path::new("state"));
    store(&mut state, &blobs()).unwrap();
    std::env::set_current_dir(other.path()).unwrap();
    let changes = state.lock().unwrap().read_changes();
    std::env::set_current_dir(before).unwrap();
    assert!(changes == Ok(FileState::None));
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_was_replaced_during_a_command_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut ours = StateFile::new(&path);
    store(&mut ours, &blobs()).unwrap();
    let mut locked = ours.lock().unwrap();
    locked.read_changes().unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, c_format(&others())).unwrap();
    assert_eq!(locked.store(&[1], &[2]), Err(ReturnCode::IO_ERROR.into()));
    assert!(load(&path).unwrap() == others(), "the state of the other process");
    assert!(ours.lock().unwrap().read_changes() == Ok(FileState::State(others())));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no other file is left");
}
