// SPDX-License-Identifier: BSD-2-Clause
//! The file without a TPM.

use super::*;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

fn blobs() -> Blobs {
    Blobs { permanent: vec![1, 2, 3], volatile: vec![4, 5] }
}

const BYTES: [u8; 13] = [0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 2, 4, 5];

fn load(path: &Path) -> Result<Blobs> {
    match StateFile::new(path).lock()?.news()? {
        News::State(blobs) => Ok(blobs),
        News::None | News::Removed => panic!("nothing was known"),
    }
}

fn store(path: &Path, blobs: &Blobs) {
    StateFile::new(path).lock().unwrap().store(blobs).unwrap();
}

#[test]
fn the_file_is_two_blobs_with_their_lengths_and_mode_0600() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    assert!(load(&path).unwrap() == Blobs::default(), "a new TPM");
    assert!(!path.exists(), "nothing was stored");
    store(&path, &blobs());
    assert_eq!(std::fs::read(&path).unwrap(), BYTES);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(load(&path).unwrap() == blobs());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_damaged_file_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut damaged: Vec<Vec<u8>> = (1..BYTES.len()).map(|cut| BYTES[..cut].to_vec()).collect();
    damaged.extend([[&BYTES[..], &[1]].concat(), vec![0xff; 13], vec![0; 8]]);
    for bytes in damaged {
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(load(&path).err(), Some(Rc::IO_ERROR), "{bytes:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn zeroes_behind_the_state_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    std::fs::write(&path, [&BYTES[..], &[0; 100]].concat()).unwrap();
    assert!(load(&path).unwrap() == blobs());
}

#[test]
fn what_another_has_stored_is_news_and_what_we_stored_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut ours = StateFile::new(&path);
    ours.lock().unwrap().store(&blobs()).unwrap();
    assert!(ours.lock().unwrap().news() == Ok(News::None));
    let other = Blobs { permanent: vec![9], volatile: vec![] };
    store(&path, &other);
    let mut locked = ours.lock().unwrap();
    assert!(locked.news() == Ok(News::State(other)));
    locked.keep().unwrap();
    assert!(ours.lock().unwrap().news() == Ok(News::None));
}

#[test]
fn who_waits_gets_the_file_that_is_there_then() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut first = StateFile::new(&path);
    let locked = first.lock().unwrap();
    let second = std::thread::spawn({
        let path = path.clone();
        move || load(&path).unwrap()
    });
    locked.store(&blobs()).unwrap();
    assert!(second.join().unwrap() == blobs());
}

#[test]
fn a_file_that_was_removed_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut state = StateFile::new(&path);
    state.lock().unwrap().store(&blobs()).unwrap();
    let empty = |path: &Path| File::create(path).map(drop);
    for lose in [|path: &Path| std::fs::remove_file(path), empty] {
        lose(&path).unwrap();
        let mut locked = state.lock().unwrap();
        assert!(locked.news() == Ok(News::Removed));
        locked.store(&blobs()).unwrap();
        assert!(load(&path).unwrap() == blobs());
    }
}

#[test]
fn a_file_that_was_restored_in_its_place_is_news() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut state = StateFile::new(&path);
    state.lock().unwrap().store(&blobs()).unwrap();
    let other = Blobs { permanent: vec![9, 9, 9], volatile: vec![8, 8, 8] };
    std::fs::write(&path, encode(&other).unwrap()).unwrap(); // as cp does
    assert!(state.lock().unwrap().news() == Ok(News::State(other)));
}

#[test]
fn a_file_that_others_make_and_remove_can_be_locked_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = OpenOptions::new().write(true).create_new(true).open(&path);
                let _ = std::fs::remove_file(&path);
            }
        });
        let locked = (0..50_000).all(|_| StateFile::new(&path).lock().is_ok());
        over.store(true, Ordering::Relaxed);
        assert!(locked);
    });
}

#[test]
fn a_link_that_leads_nowhere_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();
    assert_eq!(StateFile::new(&link).lock().err(), Some(Rc::IO_ERROR));
}

#[test]
fn a_link_is_followed_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("state"), dir.path().join("link"));
    std::fs::write(&path, BYTES).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    store(&link, &Blobs { permanent: vec![9], volatile: vec![] });
    assert_eq!(std::fs::read(&path).unwrap(), [0, 0, 0, 1, 9, 0, 0, 0, 0]);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn no_file_of_somebody_else_is_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let planted = dir.path().join(".state.tcti-libtpms.new");
    std::fs::write(&planted, "theirs").unwrap();
    let mut theirs = File::open(&planted).unwrap();
    store(&path, &blobs());
    let mut seen = String::new();
    theirs.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "theirs");
    for neighbour in ["state.new", "state.lock"] {
        let neighbour = dir.path().join(neighbour);
        std::fs::write(&neighbour, "mine").unwrap();
        store(&path, &blobs());
        assert_eq!(std::fs::read_to_string(&neighbour).unwrap(), "mine");
    }
}

#[test]
fn a_failed_first_store_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    // A directory that is not empty in the place of the next state: not even root can write there.
    std::fs::create_dir_all(dir.path().join(".state.tcti-libtpms.new/x")).unwrap();
    assert_eq!(StateFile::new(&path).lock().unwrap().store(&blobs()), Err(Rc::IO_ERROR));
    assert!(!path.exists());
}

#[test]
fn what_is_no_file_is_refused() {
    for path in ["/dev/null", "/nonexistent/state", "/"] {
        assert_eq!(StateFile::new(Path::new(path)).lock().err(), Some(Rc::IO_ERROR), "{path}");
    }
}

#[test]
fn a_program_that_changes_its_directory_keeps_its_file() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir(dir.path()).unwrap(); // no other test here uses it
    let mut state = StateFile::new(Path::new("state"));
    state.lock().unwrap().store(&blobs()).unwrap();
    std::env::set_current_dir(other.path()).unwrap();
    let news = state.lock().unwrap().news();
    std::env::set_current_dir(before).unwrap();
    assert!(news == Ok(News::None));
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}

#[test]
fn names_that_are_no_text_have_a_next_state_each() {
    let dir = tempfile::tempdir().unwrap();
    let named = |name: &[u8]| dir.path().join(OsStr::from_bytes(name));
    let (one, other) = (next_to(&named(b"\xfe")), next_to(&named(b"\xff")));
    assert_ne!(one, other);
    assert_eq!(other, named(b".\xff.tcti-libtpms.new"));
}

#[test]
fn a_file_that_was_taken_away_during_a_command_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let (mut ours, mut theirs) = (StateFile::new(&path), StateFile::new(&path));
    ours.lock().unwrap().store(&blobs()).unwrap();
    let locked = ours.lock().unwrap();
    std::fs::remove_file(&path).unwrap();
    let other = Blobs { permanent: vec![9], volatile: vec![] };
    theirs.lock().unwrap().store(&other).unwrap();
    assert_eq!(locked.store(&blobs()), Err(Rc::IO_ERROR));
    assert!(load(&path).unwrap() == other, "what was acknowledged is there");
    assert!(ours.lock().unwrap().news() == Ok(News::State(other)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_next_state_that_is_being_written_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let next = next_to(&dir.path().join("state"));
    let theirs = make(&next, &Deadline::Now).unwrap();
    assert_eq!(make(&next, &Deadline::Now).err().unwrap().kind(), ErrorKind::TimedOut);
    assert!(theirs.is_at_its_path());
}

#[test]
fn the_new_file_is_its_owners_or_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let ours = File::create(&path).unwrap().metadata().unwrap();
    // A file that is not ours: made so, or, without the rights for that, one that is root's.
    let file = match std::os::unix::fs::chown(&path, Some(1), None) {
        Ok(()) => File::open(&path).unwrap(),
        Err(_) => File::open("/").unwrap(),
    };
    let given = give_owner(&file, &ours);
    assert_eq!(given.is_ok(), file.metadata().unwrap().uid() == ours.uid(), "{given:?}");
}
