// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the lock. A lock on an open file description (`F_OFD_SETLK`) stands in for another process: fcntl(2) does not
//! count it as held by this one.

use super::*;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// Locks the file as another process would.
pub(in super::super) fn lock_as_another_process(path: &Path) -> File {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    fcntl(&file, FcntlArg::F_OFD_SETLK(&whole(F_WRLCK))).unwrap();
    file
}

fn file() -> (tempfile::NamedTempFile, File) {
    let named = tempfile::NamedTempFile::new().unwrap();
    let file = named.reopen().unwrap();
    (named, file)
}

#[test]
fn a_lock_excludes_other_processes_until_it_is_released() {
    let (named, file) = file();
    let theirs = lock_as_another_process(named.path());
    assert!(!try_lock(&file).unwrap());
    assert_eq!(wait(&file, Duration::ZERO).err().unwrap().kind(), ErrorKind::TimedOut);
    drop(theirs);
    wait(&file, Duration::ZERO).unwrap();
    unlock(&file);
    drop(lock_as_another_process(named.path()));
}

#[test]
fn a_wait_times_out() {
    let (named, file) = file();
    let _theirs = lock_as_another_process(named.path());
    let (start, time) = (Instant::now(), Duration::from_millis(30));
    assert_eq!(wait(&file, time).err().unwrap().kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= time);
}

#[test]
fn a_wait_ends_when_the_lock_is_released_and_not_at_a_write() {
    let (named, file) = file();
    let theirs = lock_as_another_process(named.path());
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| wait(&file, Duration::from_secs(60)).unwrap());
        for _ in 0..100 {
            theirs.write_all_at(b"x", 0).unwrap();
        }
        assert!(!waits.is_finished());
        drop(theirs);
        waits.join().unwrap();
    });
}

/// As another user can take it who may only read the file.
#[test]
fn a_lock_for_reading_is_not_waited_for() {
    let (named, file) = file();
    let theirs = File::open(named.path()).unwrap();
    fcntl(&theirs, FcntlArg::F_OFD_SETLK(&whole(F_RDLCK))).unwrap();
    let (start, time) = (Instant::now(), Duration::from_secs(60));
    assert_eq!(wait(&file, time).err().unwrap().kind(), ErrorKind::WouldBlock);
    assert!(start.elapsed() < time);
    drop(theirs);
    wait(&file, time).unwrap();
}
