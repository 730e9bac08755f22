// SPDX-License-Identifier: BSD-2-Clause
//! Opens files that the user has named and that must be the user's own, in directories that may belong to others:
//! [`open_in`] and [`append`]. Whoever may write in the directory can place anything under the name at any moment: a link to
//! a file of this user, a file of their own, a FIFO, a directory. None of these is used.
//!
//! The path of the directory is resolved once, to a file descriptor, and links in it are followed, with the restrictions of
//! the kernel (`fs.protected_symlinks`). The name is opened relative to that, and is not followed if it is a link.
#![forbid(unsafe_code)]

use crate::io::above_stdio;
use crate::kept;
use crate::log::Line;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;
use rustix::fs::{FileType, PROC_SUPER_MAGIC, Statx, fstatfs, readlinkat};
use std::ffi::{CStr, CString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How often others may create, replace or remove the file between two steps here before that is an error.
const MAX_RACES: u32 = 10_000;
/// How many links [`append`] follows from one name to the next.
const MAX_LINKS: u32 = 8;

/// What may be at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// A regular file of the effective user with one name.
    File,
    /// That, a FIFO of the effective user or of root, or a character device, since only root can make one.
    Stream,
}

/// Returns where the name begins: after the last slash.
fn start_of_name(path: &CStr) -> usize {
    path.to_bytes().iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1)
}

/// Returns the name at the end of a path; `None` if it ends with a slash.
pub fn name(path: &CStr) -> Option<&CStr> {
    let name = path.to_bytes_with_nul().get(start_of_name(path)..)?;
    CStr::from_bytes_with_nul(name).ok().filter(|name| !name.is_empty())
}

/// Opens the directory of a path, relative to the directory `at`, with `O_PATH`.
pub fn directory(at: BorrowedFd<'_>, path: &CStr) -> io::Result<OwnedFd> {
    let dir = path.to_bytes().get(..start_of_name(path)).filter(|dir| !dir.is_empty());
    let dir = CString::new(dir.unwrap_or(b"."))?;
    Ok(openat(at, &*dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Returns the status of a file in a directory, without following a link.
pub fn status(dir: impl AsFd, name: &CStr) -> io::Result<Statx> {
    Ok(kept::status(dir, name)?)
}

/// Opens the file `name` in a directory, for `access` such as `O_RDWR`, and creates it with `mode` if it does not exist. Fails
/// with `PermissionDenied` for a file of another user, and with a text for another kind of file. Returns a descriptor that is
/// greater than 2, close-on-exec and non-blocking, and whether the file was created.
pub fn open_in(
    dir: BorrowedFd<'_>,
    name: &CStr,
    access: OFlag,
    mode: Mode,
    accepts: Accepts,
) -> io::Result<(OwnedFd, bool)> {
    for _ in 0..MAX_RACES {
        let before = match status(dir, name) {
            Ok(status) => accepts.check(&status).map(|()| Some(status))?,
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // O_CREAT in any case, so that the kernel's rules for public directories apply (fs.protected_regular,
        // fs.protected_fifos).
        let mut flags = access | OFlag::O_CREAT | OFlag::O_NOFOLLOW | HARMLESS;
        flags.set(OFlag::O_EXCL, before.is_none());
        match openat(dir, name, flags, mode) {
            Err(Errno::EEXIST | Errno::ELOOP) => {} // it has just been created or replaced
            opened => {
                let fd = above_stdio(opened?)?;
                let after = kept::status(&fd, c"")?;
                accepts.check(&after)?;
                // Otherwise it was exchanged, perhaps for a second name of another file that was removed since.
                if before.is_none_or(|before| kept::is_same(&before, &after)) {
                    return Ok((fd, before.is_none()));
                }
            }
        }
    }
    Err(Errno::EBUSY.into())
}

/// Opens a file for appending, and creates it with `mode` if it does not exist. For [`Accepts::Stream`], a link of the
/// effective user or of root is replaced by its target, and so on; and a descriptor of a process, such as /dev/fd/3, may
/// belong to anybody, because only that process or root can have opened it there.
pub fn append(path: &CStr, mode: u32, accepts: Accepts) -> io::Result<OwnedFd> {
    let (access, mode) = (OFlag::O_WRONLY | OFlag::O_APPEND, Mode::from_bits_truncate(mode));
    let (mut path, mut at) = (path.to_owned(), None::<OwnedFd>);
    for _ in 0..MAX_LINKS {
        if accepts == Accepts::Stream && is_descriptor(path.to_bytes()) {
            let fd = above_stdio(openat(AT_FDCWD, &*path, access | HARMLESS, Mode::empty())?)?;
            return accepts.check_kind(&kept::status(&fd, c"")?).map(|()| fd);
        }
        let dir = directory(at.as_ref().map_or(AT_FDCWD, AsFd::as_fd), &path)?;
        let name = name(&path).ok_or(Errno::EISDIR)?;
        let target = if accepts == Accepts::Stream { own_link(dir.as_fd(), name)? } else { None };
        let Some(target) = target else {
            return open_in(dir.as_fd(), name, access, mode, accepts).map(|(fd, _)| fd);
        };
        (path, at) = (target, Some(dir));
    }
    Err(Errno::ELOOP.into())
}

/// Makes opening harmless if somebody has just replaced the file by one of another kind.
const HARMLESS: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC).union(OFlag::O_LARGEFILE);

/// Returns whether the path names an open file of a process (proc_pid_fd(5)).
fn is_descriptor(path: &[u8]) -> bool {
    let in_proc = || {
        let process = path.strip_prefix(b"/proc/")?;
        process.get(process.iter().position(|byte| *byte == b'/')?..)?.strip_prefix(b"/fd/")
    };
    path.strip_prefix(b"/dev/fd/").or_else(in_proc).is_some_and(|number| !number.contains(&b'/'))
}

/// Returns the target of a link; `None` if this is not a link. Fails if it belongs to another user.
fn own_link(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<CString>> {
    // Opened first, so that the target is that of the link whose owner was checked.
    let link = match openat(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        opened => opened?,
    };
    let status = kept::status(&link, c"")?;
    match kind(&status) {
        // A link of /proc leads to any file of any process.
        FileType::Symlink if fstatfs(&link)?.f_type == PROC_SUPER_MAGIC => Err(Errno::ELOOP.into()),
        // Of another user's making, where the kernel allows that (fs.protected_hardlinks).
        FileType::Symlink if status.stx_nlink > 1 => {
            Err(io::Error::other("it is a symbolic link with more than one name (hard links)"))
        }
        FileType::Symlink if is_trusted(&status) => Ok(Some(readlinkat(&link, c"", Vec::new())?)),
        FileType::Symlink => Err(not_ours("a symbolic link", &status)),
        _ => Ok(None),
    }
}

fn kind(status: &Statx) -> FileType {
    FileType::from_raw_mode(status.stx_mode.into())
}

/// Returns whether this belongs to the effective user or to root.
fn is_trusted(status: &Statx) -> bool {
    [0, geteuid().as_raw()].contains(&status.stx_uid)
}

fn not_ours(what: &str, status: &Statx) -> io::Error {
    let (whose, we) = (status.stx_uid, geteuid().as_raw());
    let text = Line::of(format_args!("{what} is owned by uid {whose}, but this process runs as uid {we}"));
    io::Error::new(ErrorKind::PermissionDenied, text.unwrap_or_default())
}

impl Accepts {
    fn check(self, status: &Statx) -> io::Result<()> {
        self.check_kind(status)?;
        match kind(status) {
            FileType::RegularFile if status.stx_uid != geteuid().as_raw() => Err(not_ours("it", status)),
            // Of another user's making, where the kernel allows that (fs.protected_hardlinks).
            FileType::RegularFile if status.stx_nlink > 1 => {
                Err(io::Error::other("it has more than one name (hard links)"))
            }
            FileType::Fifo if !is_trusted(status) => Err(not_ours("the pipe", status)),
            _ => Ok(()),
        }
    }

    fn check_kind(self, status: &Statx) -> io::Result<()> {
        Err(io::Error::other(match kind(status) {
            FileType::RegularFile => return Ok(()),
            FileType::Fifo | FileType::CharacterDevice if self == Accepts::Stream => return Ok(()),
            FileType::Symlink => "it is a symbolic link, not a regular file",
            FileType::Directory => "it is a directory, not a regular file",
            FileType::Fifo => "it is a pipe, not a regular file",
            FileType::Socket => "it is a socket, not a regular file",
            _ => "it is a device, not a regular file",
        }))
    }
}

#[cfg(test)]
mod tests;
