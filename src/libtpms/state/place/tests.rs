// SPDX-License-Identifier: BSD-2-Clause
//! What may be at a path, and who has it.

use super::*;
use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, Permissions, remove_file};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf, Place) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    (dir, path.clone(), Place::new(path))
}

fn fill(held: Held<'_>) {
    std::os::unix::fs::FileExt::write_all_at(held.file, b"ours", 0).unwrap();
}

#[test]
fn a_file_that_nothing_was_written_to_is_not_left_behind() {
    let (_dir, path, mut place) = place();
    let held = place.lock().unwrap();
    assert!(path.exists());
    drop(held);
    assert!(!path.exists());
    fill(place.lock().unwrap());
    drop(place.lock().unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"ours");
}

#[test]
fn a_file_that_cannot_be_locked_is_not_left_behind() {
    let (_dir, path, mut place) = place();
    let error = place.lock_by(|_, _| Err(Errno::NOLCK.into())).err().unwrap();
    assert_eq!(error.raw_os_error(), Some(libc::ENOLCK));
    assert!(!path.exists());
}

#[test]
fn a_file_that_another_was_faster_to_lock_stays() {
    let (_dir, path, mut place) = place();
    let faster = Cell::new(None);
    let late = |_: &File, _: Duration| {
        faster.set(Some(lock::tests::as_another(&path)));
        Err(ErrorKind::TimedOut.into())
    };
    assert!(place.lock_by(late).is_err());
    assert!(path.exists());
}

#[test]
fn a_file_that_was_removed_while_we_waited_is_made_again() {
    let (_dir, path, mut place) = place();
    let rounds = Cell::new(0);
    let removed = |_: &File, _: Duration| {
        rounds.set(rounds.get() + 1);
        if rounds.get() < 3 {
            remove_file(&path)?;
        }
        Ok(())
    };
    let held = place.lock_by(removed).unwrap();
    assert!(held.is_there());
    assert_eq!(rounds.get(), 3);
}

#[test]
fn a_file_of_another_in_the_same_place_stays() {
    let (_dir, path, mut place) = place();
    let held = place.lock().unwrap();
    remove_file(&path).unwrap();
    fs::write(&path, "theirs").unwrap();
    assert!(!held.is_there());
    drop(held);
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    assert_eq!(place.lock().unwrap().size, 6);
}

/// So often for each lock; who never stops can have an error out of us, and nothing else.
#[test]
fn a_file_that_others_make_and_remove_can_be_locked_at_any_moment() {
    const LOCKS: u32 = 5_000;
    const OFTEN: u32 = 20;
    let (_dir, path, _) = place();
    let locked = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seen = 0;
            while seen < LOCKS {
                for _ in 0..OFTEN {
                    let _ = File::create_new(&path);
                    let _ = remove_file(&path);
                }
                while locked.load(Ordering::Relaxed) == seen {
                    std::thread::yield_now();
                }
                seen = locked.load(Ordering::Relaxed);
            }
        });
        for _ in 0..LOCKS {
            let result = Place::new(path.clone()).lock().map(drop);
            locked.fetch_add(if result.is_ok() { 1 } else { LOCKS }, Ordering::Relaxed);
            result.unwrap();
        }
    });
}

#[test]
fn a_link_is_not_followed() {
    let (dir, path, mut place) = place();
    let target = dir.path().join("target");
    fs::write(&target, "").unwrap();
    for target in [target, dir.path().join("nowhere"), "/etc/passwd".into()] {
        symlink(&target, &path).unwrap();
        assert!(place.lock().err().unwrap().to_string().contains("a symbolic link, not a regular file"));
        remove_file(&path).unwrap();
    }
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn a_link_that_leads_to_its_directory_is_followed_once() {
    let (dir, ..) = place();
    let (one, other, link) = (dir.path().join("one"), dir.path().join("other"), dir.path().join("link"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&other).unwrap();
    symlink(&one, &link).unwrap();
    let mut place = Place::new(link.join("file"));
    fill(place.lock().unwrap());
    remove_file(&link).unwrap();
    symlink(&other, &link).unwrap();
    remove_file(one.join("file")).unwrap();
    fill(place.lock().unwrap());
    assert_eq!(fs::read(one.join("file")).unwrap(), b"ours");
    assert!(!other.join("file").exists());
}

/// And nobody waits for it.
#[test]
fn what_is_no_regular_file_is_refused() {
    let (dir, path, _) = place();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let socket = dir.path().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let there: [(&Path, &str); 6] = [
        (Path::new("/dev/null"), "a device"),
        (Path::new("/"), "a directory"),
        (dir.path(), "a directory"),
        (&path.join(".."), "a directory"),
        (&pipe, "a pipe"),
        (&socket, "a socket"),
    ];
    for (path, kind) in there {
        let error = Place::new(path.to_owned()).lock().err().unwrap();
        assert!(error.to_string().starts_with(&format!("it is {kind}")), "{}: {error}", path.display());
    }
}

#[test]
fn a_file_is_for_its_owner_alone() {
    let (_dir, path, mut place) = place();
    fs::write(&path, "ours").unwrap();
    for mode in [0o644, 0o660, 0o606] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        drop(place.lock().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }
}

/// Whose it is in a test that has no rights: root's.
#[test]
fn a_file_of_another_user_is_refused() {
    let (_dir, path, mut place) = place();
    fs::write(&path, "").unwrap();
    if std::os::unix::fs::chown(&path, Some(1), None).is_err() {
        place = Place::new("/etc/passwd".into());
    }
    let error = place.lock().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("belongs to uid"), "{error}");
}

#[test]
fn names_that_are_no_text_are_names() {
    let (dir, ..) = place();
    for name in [&b"\xfe"[..], b"\xff"] {
        let path = dir.path().join(OsStr::from_bytes(name));
        fill(Place::new(path.clone()).lock().unwrap());
        assert!(path.exists());
    }
}

/// As a daemon does, which then opens files of its own, under the same numbers.
#[test]
fn descriptors_that_the_program_closed_are_left_alone() {
    let (dir, path, mut place) = place();
    fill(place.lock().unwrap());
    let theirs = File::create_new(dir.path().join("theirs")).unwrap();
    let their_dir = File::open("/").unwrap();
    let mut numbers = Vec::new();
    for _ in 0..2 {
        for (kept, to) in [(&mut place.file, &theirs), (&mut place.dir, &their_dir)] {
            let kept = kept.as_mut().unwrap();
            kept.give_away(to);
            numbers.push(kept.file.as_raw_fd());
        }
        let held = place.lock().unwrap();
        assert_eq!(held.size, 4);
        fill(held);
    }
    for (kept, to) in [(&mut place.file, &theirs), (&mut place.dir, &their_dir)] {
        kept.as_mut().unwrap().give_away(to);
    }
    drop(place);
    assert_eq!(theirs.metadata().unwrap().len(), 0);
    assert_eq!(fs::read(&path).unwrap(), b"ours");
    for number in numbers {
        assert!(fs::metadata(format!("/proc/self/fd/{number}")).is_ok(), "{number} was closed");
    }
}
