// SPDX-License-Identifier: BSD-2-Clause
//! Tests of what may be at the path, and of races with other processes.

use super::*;
use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, Permissions, remove_file};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

fn location() -> (TempDir, PathBuf, StateLocation) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let location = StateLocation::new(&path);
    (dir, path, location)
}

fn fill(locked: LockedFile<'_>) {
    std::os::unix::fs::FileExt::write_all_at(locked.file, b"ours", 0).unwrap();
}

#[test]
fn an_empty_file_is_removed() {
    let (_dir, path, mut location) = location();
    let locked = location.lock().unwrap();
    assert!(path.exists());
    drop(locked);
    assert!(!path.exists());
    fill(location.lock().unwrap());
    drop(location.lock().unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"ours");
}

#[test]
fn a_file_that_cannot_be_locked_is_removed() {
    let (_dir, path, mut location) = location();
    let error = location.lock_with(|_, _| Err(Errno::ENOLCK.into())).err().unwrap();
    assert_eq!(error.raw_os_error(), Some(libc::ENOLCK));
    assert!(!path.exists());
}

#[test]
fn a_file_that_another_process_locked_first_is_kept() {
    let (_dir, path, mut location) = location();
    let faster = Cell::new(None);
    let late = |_: &File, _: Duration| {
        faster.set(Some(lock::tests::lock_as_another_process(&path)));
        Err(ErrorKind::TimedOut.into())
    };
    assert!(location.lock_with(late).is_err());
    assert!(path.exists());
}

#[test]
fn a_file_that_was_removed_during_the_wait_is_created_again() {
    let (_dir, path, mut location) = location();
    let rounds = Cell::new(0);
    let removed = |_: &File, _: Duration| {
        rounds.set(rounds.get() + 1);
        if rounds.get() < 3 {
            remove_file(&path)?;
        }
        Ok(())
    };
    let locked = location.lock_with(removed).unwrap();
    assert!(locked.exists());
    assert_eq!(rounds.get(), 3);
}

#[test]
fn a_file_that_has_replaced_ours_is_kept() {
    let (_dir, path, mut location) = location();
    let locked = location.lock().unwrap();
    remove_file(&path).unwrap();
    fs::write(&path, "theirs").unwrap();
    assert!(!locked.exists());
    drop(locked);
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    assert_eq!(location.lock().unwrap().size, 6);
}

/// The file is replaced a limited number of times per lock; a process that never stops can cause an error, and no more.
#[test]
fn a_file_that_others_create_and_remove_can_be_locked_at_any_moment() {
    const LOCKS: u32 = 5_000;
    const OFTEN: u32 = 20;
    let (_dir, path, _) = location();
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
            let result = StateLocation::new(&path).lock().map(drop);
            locked.fetch_add(if result.is_ok() { 1 } else { LOCKS }, Ordering::Relaxed);
            result.unwrap();
        }
    });
}

#[test]
fn a_link_is_not_followed() {
    let (dir, path, mut location) = location();
    let target = dir.path().join("target");
    fs::write(&target, "").unwrap();
    for target in [target, dir.path().join("nowhere"), "/etc/passwd".into()] {
        symlink(&target, &path).unwrap();
        assert!(location.lock().err().unwrap().to_string().contains("a symbolic link, not a regular file"));
        remove_file(&path).unwrap();
    }
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn a_link_in_the_path_of_the_directory_is_followed_once() {
    let (dir, ..) = location();
    let (one, other, link) = (dir.path().join("one"), dir.path().join("other"), dir.path().join("link"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&other).unwrap();
    symlink(&one, &link).unwrap();
    let mut location = StateLocation::new(&link.join("file"));
    fill(location.lock().unwrap());
    remove_file(&link).unwrap();
    symlink(&other, &link).unwrap();
    remove_file(one.join("file")).unwrap();
    fill(location.lock().unwrap());
    assert_eq!(fs::read(one.join("file")).unwrap(), b"ours");
    assert!(!other.join("file").exists());
}

/// Opening a pipe must not block.
#[test]
fn only_a_regular_file_is_opened() {
    let (dir, ..) = location();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let socket = dir.path().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let others: [(&Path, &str); 6] = [
        (Path::new("/dev/null"), "a device"),
        (Path::new("/"), "a directory"),
        (dir.path(), "a directory"),
        (&dir.path().join(".."), "a directory"),
        (&pipe, "a pipe"),
        (&socket, "a socket"),
    ];
    for (path, kind) in others {
        let error = StateLocation::new(path).lock().err().unwrap();
        assert!(error.to_string().starts_with(&format!("it is {kind}")), "{}: {error}", path.display());
    }
}

#[test]
fn other_users_lose_access_to_the_file() {
    let (_dir, path, mut location) = location();
    fs::write(&path, "ours").unwrap();
    for mode in [0o644, 0o660, 0o606] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        drop(location.lock().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }
}

/// Without the right to chown, the file is one of root.
#[test]
fn a_file_of_another_user_is_refused() {
    let (_dir, path, mut location) = location();
    fs::write(&path, "").unwrap();
    if std::os::unix::fs::chown(&path, Some(1), None).is_err() {
        location = StateLocation::new(Path::new("/etc/passwd"));
    }
    let error = location.lock().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("is owned by uid"), "{error}");
}

#[test]
fn a_name_need_not_be_utf_8() {
    let (dir, ..) = location();
    for name in [&b"\xfe"[..], b"\xff"] {
        let path = dir.path().join(OsStr::from_bytes(name));
        fill(StateLocation::new(&path).lock().unwrap());
        assert!(path.exists());
    }
}

/// A daemon closes all file descriptors, and then opens files of its own under the same numbers.
#[test]
fn file_descriptors_that_the_program_closed_are_not_used() {
    let (dir, path, mut location) = location();
    fill(location.lock().unwrap());
    let theirs = File::create_new(dir.path().join("theirs")).unwrap();
    let their_dir = File::open("/").unwrap();
    let mut numbers = Vec::new();
    for _ in 0..2 {
        for (kept, to) in [(&location.file, &theirs), (&location.dir, &their_dir)] {
            let kept = kept.as_ref().unwrap();
            kept.reuse_for(to);
            numbers.push(kept.as_raw_fd());
        }
        let locked = location.lock().unwrap();
        assert_eq!(locked.size, 4);
        fill(locked);
    }
    for (kept, to) in [(&location.file, &theirs), (&location.dir, &their_dir)] {
        kept.as_ref().unwrap().reuse_for(to);
    }
    drop(location);
    assert_eq!(theirs.metadata().unwrap().len(), 0);
    assert_eq!(fs::read(&path).unwrap(), b"ours");
    for number in numbers {
        assert!(fs::metadata(format!("/proc/self/fd/{number}")).is_ok(), "{number} was closed");
    }
}
