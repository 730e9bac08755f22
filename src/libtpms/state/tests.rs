// SPDX-License-Identifier: BSD-2-Clause
//! The file without a TPM.

use super::*;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};

fn blobs() -> Blobs {
    Blobs { permanent: vec![1, 2, 3], volatile: vec![4, 5] }
}

fn others() -> Blobs {
    Blobs { permanent: vec![9, 9, 9], volatile: vec![8, 8] }
}

/// The form of the C module.
fn form(blobs: &Blobs) -> Vec<u8> {
    let length = |blob: &[u8]| u32::try_from(blob.len()).unwrap().to_be_bytes();
    [&length(&blobs.permanent), &blobs.permanent[..], &length(&blobs.volatile), &blobs.volatile].concat()
}

fn load(path: &Path) -> Result<Blobs> {
    match StateFile::new(path).lock()?.news()? {
        FileState::State(blobs) => Ok(blobs),
        FileState::None | FileState::Removed => panic!("nothing was known"),
    }
}

/// What a process does for a command.
fn store(file: &mut StateFile, blobs: &Blobs) -> Result<()> {
    let mut locked = file.lock()?;
    locked.news()?;
    locked.store(&blobs.permanent, &blobs.volatile)
}

/// What there is in front for the C module.
fn front(path: &Path) -> Blobs {
    let bytes = std::fs::read(path).unwrap();
    let blob = |at: usize| {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        bytes[at + 4..at + 4 + length].to_vec()
    };
    let permanent = blob(0);
    Blobs { volatile: blob(4 + permanent.len()), permanent }
}

#[test]
fn the_file_begins_with_two_blobs_and_their_lengths_and_has_mode_0600() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    assert!(load(&path).unwrap() == Blobs::default(), "a new TPM");
    assert!(!path.exists(), "nothing was stored");
    store(&mut StateFile::new(&path), &blobs()).unwrap();
    assert!(std::fs::read(&path).unwrap().starts_with(&form(&blobs())));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(load(&path).unwrap() == blobs());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_damaged_file_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let form = form(&blobs());
    let mut damaged: Vec<Vec<u8>> = (1..form.len()).map(|cut| form[..cut].to_vec()).collect();
    damaged.extend([[&form[..], &[1]].concat(), vec![0xff; 13], vec![0, 0, 0, 0, 0, 0, 0, 1]]);
    for bytes in damaged.into_iter().filter(|bytes| !is_blank(bytes)) {
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(load(&path).err(), Some(ReturnCode::IO_ERROR.into()), "{bytes:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

/// Also one that looks like a file of the C module, because all but the front was cut off.
#[test]
fn a_damaged_file_with_records_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut file = StateFile::new(&path);
    store(&mut file, &others()).unwrap();
    store(&mut file, &blobs()).unwrap();
    let good = std::fs::read(&path).unwrap();
    let form = form(&blobs());
    let is_alone = |cut: &usize| *cut == form.len();
    let mut damaged: Vec<Vec<u8>> = (1..40).filter(|cut| !is_alone(cut)).map(|cut| good[..cut].to_vec()).collect();
    damaged.extend((1..20).map(|parts| good[..good.len() * parts / 20].to_vec()));
    damaged.extend([good[..good.len() - 1].to_vec(), [&good[..], b"x"].concat(), vec![0xff; good.len()]]);
    damaged.extend((0..form.len()).map(|at| {
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

/// Also what is left of the length in front.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// As for the C module, which makes any file larger when it opens it.
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
fn zeroes_behind_the_state_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    std::fs::write(&path, [&form(&blobs())[..], &[0; 100]].concat()).unwrap();
    assert!(load(&path).unwrap() == blobs());
}

/// It maps the file, which it makes larger by up to 2048 zeroes, and writes the form over what is in front. When it ends, it
/// cuts off all but that; when it is killed, it does not.
#[test]
fn what_the_c_module_did_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut file = StateFile::new(&path);
    for is_killed in [false, true, false, true] {
        store(&mut file, &blobs()).unwrap();
        assert!(front(&path) == blobs(), "it finds our state");
        let theirs = OpenOptions::new().write(true).open(&path).unwrap();
        theirs.set_len((theirs.metadata().unwrap().len() / 2048 + 1) * 2048).unwrap();
        assert!(load(&path).unwrap() == blobs(), "it has only opened the file");
        theirs.write_all_at(&form(&others()), 0).unwrap();
        if !is_killed {
            theirs.set_len(form(&others()).len() as u64).unwrap();
        }
        assert!(load(&path).unwrap() == others());
        assert!(file.lock().unwrap().news() == Ok(FileState::State(others())));
        StateFile::new(&path).lock().map(|mut locked| locked.news().and_then(|_| locked.keep())).unwrap().unwrap();
        assert!(load(&path).unwrap() == others(), "and is kept with our records");
        assert!(front(&path) == others());
    }
}

#[test]
fn a_kill_while_room_for_records_is_made_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    store(&mut StateFile::new(&path), &others()).unwrap();
    let records = std::fs::read(&path).unwrap();
    for before in [Blobs::default(), blobs()] {
        let front = if before.permanent.is_empty() { vec![] } else { form(&before) };
        // Room, which has an odd size, with a part of what comes there.
        for written in [0, 0x10_0000, 0x14_0000, records.len()] {
            let mut room = vec![0; records.len() + 1];
            room[..front.len()].copy_from_slice(&front);
            room[20_000..written.max(20_000)].copy_from_slice(&records[20_000..written.max(20_000)]);
            std::fs::write(&path, &room).unwrap();
            assert!(load(&path).unwrap() == before);
            store(&mut StateFile::new(&path), &Blobs { volatile: vec![1], ..blobs() }).unwrap();
            assert!(load(&path).unwrap() == Blobs { volatile: vec![1], ..blobs() });
        }
    }
}

#[test]
fn what_another_has_stored_is_news_and_what_we_stored_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut ours = StateFile::new(&path);
    store(&mut ours, &blobs()).unwrap();
    assert!(ours.lock().unwrap().news() == Ok(FileState::None));
    let (volatile, permanent) =
        (Blobs { volatile: vec![6], ..blobs() }, Blobs { permanent: vec![9], volatile: vec![] });
    for other in [volatile, permanent, blobs()] {
        store(&mut StateFile::new(&path), &other).unwrap();
        let mut locked = ours.lock().unwrap();
        assert!(locked.news() == Ok(FileState::State(other.clone())));
        locked.keep().unwrap();
        let mut locked = ours.lock().unwrap();
        assert!(locked.news() == Ok(FileState::None));
        assert!(locked.known().unwrap() == other);
    }
}

#[test]
fn what_was_not_kept_is_news_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut ours = StateFile::new(&path);
    store(&mut ours, &blobs()).unwrap();
    store(&mut StateFile::new(&path), &others()).unwrap();
    for _ in 0..2 {
        assert!(ours.lock().unwrap().news() == Ok(FileState::State(others())));
    }
}

/// One byte more than fits, and the largest that does.
#[test]
fn a_state_that_is_too_large_is_an_error_and_the_one_before_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut file = StateFile::new(&path);
    store(&mut file, &blobs()).unwrap();
    let sized = |permanent, volatile| Blobs { permanent: vec![7; permanent], volatile: vec![6; volatile] };
    for large in [sized(record::PERMANENT + 1, 1), sized(1, record::VOLATILE + 1)] {
        assert_eq!(store(&mut file, &large), Err(ReturnCode::IO_ERROR.into()));
        assert!(load(&path).unwrap() == blobs());
    }
    for _ in 0..2 {
        for state in [sized(record::PERMANENT, record::VOLATILE), sized(record::PERMANENT, 1), blobs()] {
            store(&mut file, &state).unwrap();
            assert!(load(&path).unwrap() == state);
            assert!(front(&path) == state);
        }
    }
}

#[test]
fn who_waits_gets_the_file_that_is_there_then() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    store(&mut StateFile::new(&path), &blobs()).unwrap();
    let held = lock::tests::as_another(&path);
    let second = std::thread::spawn({
        let path = path.clone();
        move || load(&path).unwrap()
    });
    held.write_all_at(&form(&others()), 0).unwrap();
    held.set_len(form(&others()).len() as u64).unwrap();
    drop(held);
    assert!(second.join().unwrap() == others());
}

#[test]
fn a_file_that_was_removed_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut state = StateFile::new(&path);
    store(&mut state, &blobs()).unwrap();
    let empty = |path: &Path| File::create(path).map(drop);
    for lose in [|path: &Path| std::fs::remove_file(path), empty] {
        lose(&path).unwrap();
        let mut locked = state.lock().unwrap();
        assert!(locked.news() == Ok(FileState::Removed));
        assert!(locked.known().unwrap() == blobs());
        locked.store(&blobs().permanent, &blobs().volatile).unwrap();
        assert!(load(&path).unwrap() == blobs());
    }
}

#[test]
fn a_file_that_was_restored_in_its_place_is_news() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut state = StateFile::new(&path);
    store(&mut state, &others()).unwrap();
    let backup = std::fs::read(&path).unwrap();
    for copy in [form(&others()), backup] {
        store(&mut state, &blobs()).unwrap();
        std::fs::write(&path, copy).unwrap(); // as cp does
        assert!(state.lock().unwrap().news() == Ok(FileState::State(others())));
    }
}

#[test]
fn no_neighbour_is_written_to() {
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
fn a_failed_first_store_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let large = Blobs { permanent: vec![1; record::PERMANENT + 1], volatile: vec![] };
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
    let news = state.lock().unwrap().news();
    std::env::set_current_dir(before).unwrap();
    assert!(news == Ok(FileState::None));
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_was_taken_away_during_a_command_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut ours = StateFile::new(&path);
    store(&mut ours, &blobs()).unwrap();
    let mut locked = ours.lock().unwrap();
    locked.news().unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, form(&others())).unwrap();
    assert_eq!(locked.store(&[1], &[2]), Err(ReturnCode::IO_ERROR.into()));
    assert!(load(&path).unwrap() == others(), "what was acknowledged is there");
    assert!(ours.lock().unwrap().news() == Ok(FileState::State(others())));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
}
