// SPDX-License-Identifier: BSD-2-Clause
//! A file descriptor that stays open between the calls of a program, [`Kept`]. The program may close it, as daemons close
//! every file descriptor, and its number may then belong to another file. So [`Kept::get`] comes before each use, and a
//! number that belongs to another file is neither used nor closed.
#![forbid(unsafe_code)]

use crate::io::above_stdio;
use rustix::fs::{AtFlags, Statx, StatxFlags, fstat, major, minor, statx};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

/// An open file descriptor, and what identifies its file. Another thread must not close file descriptors during a call of
/// this module; nothing could be done about that.
///
/// Descriptors of events, timers and epoll(7) share one inode, so one of them is not told from another.
#[derive(Debug)]
pub struct Kept {
    /// Present until it is dropped.
    fd: Option<OwnedFd>,
    identity: Identity,
}

/// The numbers of the file system, of the file, and of the device that it is.
type Identity = ([u32; 2], u64, [u32; 2]);

impl Kept {
    /// Takes over `fd`, and moves it above the standard streams.
    pub fn new(fd: OwnedFd) -> io::Result<Kept> {
        let fd = above_stdio(fd)?;
        let identity = identity(fd.as_fd())?;
        Ok(Kept { fd: Some(fd), identity })
    }

    /// Returns the file descriptor, after one system call; `None` if the program has closed it, whatever its number is now.
    pub fn get(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd).filter(|fd| identity(*fd).is_ok_and(|now| now == self.identity))
    }

    /// Returns the status; `None` if the program has closed the file descriptor.
    pub fn status(&self) -> Option<Statx> {
        status(self.fd.as_ref()?.as_fd()).ok().filter(|status| self.is(status))
    }

    /// Returns whether `status` is that of this file.
    pub fn is(&self, status: &Statx) -> bool {
        identity_of(status) == self.identity
    }

    /// Makes the number one of `other`, as when a program closes the file descriptor and opens another file. For tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn reuse_for(&mut self, other: impl AsFd) -> io::Result<()> {
        Ok(self.fd.as_mut().map_or(Ok(()), |fd| rustix::io::dup2(other, fd))?)
    }
}

/// Closes the file descriptor, unless the program has.
impl Drop for Kept {
    fn drop(&mut self) {
        if self.get().is_none() {
            let _ = self.fd.take().map(OwnedFd::into_raw_fd);
        }
    }
}

/// Returns the kind, mode, owner, size and number of links of an open file. Does not ask for times: once they were asked for,
/// Linux 6.13 keeps them with a finer resolution, which slows each write down.
fn status(fd: BorrowedFd<'_>) -> rustix::io::Result<Statx> {
    let kind_and_owner = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::UID;
    let wanted = kind_and_owner | StatxFlags::NLINK | StatxFlags::INO | StatxFlags::SIZE;
    statx(fd, c"", AtFlags::EMPTY_PATH, wanted)
}

/// Returns the identity also where a sandbox denies statx(2).
fn identity(fd: BorrowedFd<'_>) -> rustix::io::Result<Identity> {
    match status(fd) {
        Err(Errno::NOSYS | Errno::PERM) => {
            let stat = fstat(fd)?;
            let numbers = |device| [major(device), minor(device)];
            Ok((numbers(stat.st_dev), stat.st_ino, numbers(stat.st_rdev)))
        }
        status => status.map(|status| identity_of(&status)),
    }
}

fn identity_of(status: &Statx) -> Identity {
    let device = [status.stx_rdev_major, status.stx_rdev_minor];
    ([status.stx_dev_major, status.stx_dev_minor], status.stx_ino, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, metadata};
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// Returns the same kinds twice: files, pipes, sockets and devices.
    fn pairs() -> Vec<[OwnedFd; 2]> {
        let file = || tempfile::tempfile().unwrap().into();
        let pipe = || nix::unistd::pipe().unwrap().1;
        let device = |path| File::open(path).unwrap().into();
        let (one, other) = UnixStream::pair().unwrap();
        vec![[file(), file()], [pipe(), pipe()], [one.into(), other.into()], [device("/dev/null"), device("/dev/zero")]]
    }

    #[test]
    fn a_file_descriptor_is_kept_until_it_is_dropped() {
        for [fd, _] in pairs() {
            let kept = Kept::new(fd).unwrap();
            let (end, _) = (kept.get().unwrap().try_clone_to_owned().unwrap(), kept.status().unwrap());
            assert_eq!(kept.get().map(identity), Some(identity(end.as_fd())));
        }
        let (mut reader, writer) = nix::unistd::pipe().map(|(reader, writer)| (File::from(reader), writer)).unwrap();
        drop(Kept::new(writer).unwrap());
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "it is closed");
    }

    #[test]
    fn a_number_that_belongs_to_another_file_is_neither_used_nor_closed() {
        for [fd, other] in pairs() {
            let mut kept = Kept::new(fd).unwrap();
            let number = kept.get().unwrap().as_raw_fd();
            kept.reuse_for(&other).unwrap();
            assert!(kept.get().is_none() && kept.status().is_none());
            drop(kept);
            assert!(metadata(format!("/proc/self/fd/{number}")).is_ok(), "it was closed");
        }
    }
}
