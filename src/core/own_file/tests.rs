// SPDX-License-Identifier: BSD-2-Clause
//! Tests of what may be at a path. Those that need a second user run as root, which gives files to nobody.

use super::*;
use nix::fcntl::{RenameFlags, renameat2};
use nix::unistd::mkfifo;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const NOBODY: Option<u32> = Some(65534);
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Makes a directory with the permissions of /tmp, that belongs to nobody if this is root.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
    let _ = chown(dir.path(), NOBODY, NOBODY);
    let path = dir.path().join("file");
    (dir, path)
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn open(path: &Path) -> io::Result<(OwnedFd, bool)> {
    let path = c(path);
    let dir = directory(AT_FDCWD, &path)?;
    open_in(dir.as_fd(), name(&path).ok_or(Errno::EISDIR)?, OFlag::O_RDWR, MODE, Accepts::File)
}

fn append(path: &Path) -> io::Result<OwnedFd> {
    super::append(&c(path), 0o600, Accepts::Stream)
}

fn text<T>(result: io::Result<T>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn a_file_is_created_and_opened_again() {
    let (_dir, path) = place();
    for expected in [true, false] {
        let (fd, is_new) = open(&path).unwrap();
        assert_eq!(is_new, expected);
        let flags = OFlag::from_bits_retain(nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL).unwrap());
        assert!(fd.as_raw_fd() > 2 && flags.contains(OFlag::O_NONBLOCK));
    }
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    fs::File::from(append(&path).unwrap()).write_all(b"one").unwrap();
    fs::File::from(append(&path).unwrap()).write_all(b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"onetwo");
}

#[test]
fn another_kind_of_file_is_refused() {
    let (dir, path) = place();
    let at = |name: &str| dir.path().join(name);
    symlink(&path, at("link")).unwrap();
    symlink("/dev/null", at("null")).unwrap();
    mkfifo(&at("pipe"), MODE).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    fs::write(at("one"), "").unwrap();
    fs::hard_link(at("one"), at("two")).unwrap();
    for (path, accepted, reason) in [
        (at("link"), true, "it is a symbolic link, not a regular file"),
        (at("null"), true, "it is a symbolic link, not a regular file"),
        (at("pipe"), true, "it is a pipe, not a regular file"),
        ("/dev/null".into(), true, "it is a device, not a regular file"),
        (at("socket"), false, "it is a socket, not a regular file"),
        (dir.path().into(), false, "it is a directory, not a regular file"),
        (at("one"), false, "it has more than one name (hard links)"),
    ] {
        assert_eq!(text(open(&path)), reason, "{}", path.display());
        assert_eq!(text(super::append(&c(&path), 0o600, Accepts::File)), reason);
        let _reader = open_reader(&at("pipe"));
        match accepted {
            true => drop(append(&path).unwrap()),
            false => assert_eq!(text(append(&path)), reason),
        }
    }
}

/// Opens a FIFO for reading, so that it can be opened for writing.
fn open_reader(path: &Path) -> OwnedFd {
    nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()).unwrap()
}

#[test]
fn a_pipe_without_a_reader_does_not_block() {
    let (_dir, path) = place();
    mkfifo(&path, MODE).unwrap();
    assert_eq!(append(&path).err().unwrap().raw_os_error(), Some(libc::ENXIO));
}

#[test]
fn a_file_a_pipe_and_a_link_of_another_user_are_refused() {
    if !geteuid().is_root() {
        return println!("skipped: only root can give files to others");
    }
    let (dir, path) = place();
    let (ours, link) = (dir.path().join("ours"), dir.path().join("link"));
    fs::write(&path, "").unwrap();
    fs::write(&ours, "").unwrap();
    symlink(&ours, &link).unwrap();
    append(&link).unwrap();
    chown(&path, NOBODY, NOBODY).unwrap();
    lchown(&link, NOBODY, NOBODY).unwrap();
    let theirs = "is owned by uid 65534, but this process runs as uid 0";
    let refused = |error: io::Error, what: &str| {
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::PermissionDenied, format!("{what} {theirs}")));
    };
    refused(open(&path).err().unwrap(), "it");
    refused(append(&path).err().unwrap(), "it");
    refused(append(&link).err().unwrap(), "a symbolic link");
    fs::remove_file(&path).unwrap();
    mkfifo(&path, MODE).unwrap();
    let _reader = open_reader(&path);
    append(&path).unwrap();
    chown(&path, NOBODY, NOBODY).unwrap();
    refused(append(&path).err().unwrap(), "the pipe");
}

#[test]
fn links_are_followed_relative_to_the_directory_that_has_them() {
    let (dir, path) = place();
    fs::create_dir(dir.path().join("sub")).unwrap();
    symlink("../file", dir.path().join("sub/one")).unwrap();
    symlink("sub/one", dir.path().join("two")).unwrap();
    append(&dir.path().join("two")).unwrap();
    assert!(path.exists());
    symlink("loop", dir.path().join("loop")).unwrap();
    assert_eq!(append(&dir.path().join("loop")).err().unwrap().raw_os_error(), Some(libc::ELOOP));
}

#[test]
fn a_descriptor_can_be_named() {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    for directory in ["/dev/fd".to_owned(), "/proc/self/fd".to_owned(), format!("/proc/{}/fd", std::process::id())] {
        let fd = append(Path::new(&format!("{directory}/{}", writer.as_raw_fd()))).unwrap();
        assert_eq!(nix::unistd::write(&fd, b"x"), Ok(1));
        assert_eq!(nix::unistd::read(&reader, &mut [0; 2]), Ok(1));
    }
    let (dir, _) = place();
    symlink("/proc/self/fd", dir.path().join("fd")).unwrap();
    let file = tempfile::tempfile().unwrap();
    for number in [writer.as_raw_fd(), file.as_raw_fd()] {
        let error = append(&dir.path().join(format!("fd/{number}"))).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP), "only the names that the system has");
    }
    assert!(append(Path::new("/proc/self/fd/999999")).is_err());
}

#[test]
fn the_name_follows_the_last_slash() {
    for (path, expected) in [(c"a", c"a"), (c"/a", c"a"), (c"a/b", c"b"), (c"/a//b", c"b")] {
        assert_eq!(name(path), Some(expected));
    }
    for path in [c"", c"/", c"a/"] {
        assert_eq!(name(path), None);
    }
}

/// Another user exchanges the file and a link to another file of root, again and again.
#[test]
fn a_link_that_is_swapped_in_at_any_moment_is_not_followed() {
    if !geteuid().is_root() {
        return println!("skipped: only root can give files to others");
    }
    let (dir, path) = place();
    let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
    fs::write(&path, "").unwrap();
    fs::write(&victim, "").unwrap();
    symlink(&victim, &link).unwrap();
    lchown(&link, NOBODY, NOBODY).unwrap();
    let (victim, stop) = (fs::metadata(&victim).unwrap().ino(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &path, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        let (mut found, mut refused, mut followed) = (0, 0, 0);
        // Ends when the file was often found, and the link, too.
        while followed == 0 && (found < 1000 || refused < 1000) {
            for result in [append(&path), open(&path).map(|(fd, _)| fd)] {
                match result.and_then(|fd| fs::File::from(fd).metadata()) {
                    Ok(metadata) if metadata.ino() == victim => followed += 1,
                    Ok(_) => found += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(followed, 0);
    });
}

#[test]
fn a_link_with_a_second_name_is_refused() {
    let (dir, path) = place();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    append(&link).unwrap();
    fs::hard_link(&link, dir.path().join("second")).unwrap();
    let error = text(append(&link));
    assert_eq!(error, "it is a symbolic link with more than one name (hard links)");
}
