// SPDX-License-Identifier: BSD-2-Clause
//! Who has a lock. What another process has is, in these, a lock that fcntl(2) does not count as this process's.

use super::*;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// The lock as another process has it.
pub(in super::super) fn as_another(path: &Path) -> File {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (kind, whence) = (i16::try_from(libc::F_WRLCK).unwrap(), i16::try_from(libc::SEEK_SET).unwrap());
    let whole = libc::flock { l_type: kind, l_whence: whence, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
    file
}

fn file() -> (tempfile::NamedTempFile, File) {
    let named = tempfile::NamedTempFile::new().unwrap();
    let file = named.reopen().unwrap();
    (named, file)
}

#[test]
fn who_has_a_lock_has_it_alone_and_until_it_ends() {
    let (named, file) = file();
    let theirs = as_another(named.path());
    assert!(is_anothers(&file).unwrap());
    assert_eq!(wait(&file, Duration::ZERO).err().unwrap().kind(), ErrorKind::TimedOut);
    drop(theirs);
    wait(&file, Duration::ZERO).unwrap();
    end(&file);
    drop(as_another(named.path()));
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let (named, file) = file();
    let _theirs = as_another(named.path());
    let (start, time) = (Instant::now(), Duration::from_millis(30));
    assert_eq!(wait(&file, time).err().unwrap().kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= time);
}

#[test]
fn a_wait_ends_with_the_lock_and_not_with_a_write() {
    let (named, file) = file();
    let theirs = as_another(named.path());
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
