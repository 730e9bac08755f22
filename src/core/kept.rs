// SPDX-License-Identifier: BSD-2-Clause
//! A file descriptor that stays open between the calls of a program, [`Kept`]. The program may close it, as daemons close
//! every file descriptor, and its number may then belong to another file. So [`Kept::get`] comes before each use, and a
//! number that belongs to another file is neither used nor closed.
#![forbid(unsafe_code)]

use crate::io::above_stdio;
use nix::unistd::close;
use rustix::fs::{AtFlags, Statx, StatxFlags, fstat, major, minor, statx};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// An open file descriptor, and what identifies its file. Another thread must not close file descriptors during a call of
/// this module; nothing could be done about that.
///
/// Dereferences to the file descriptor without looking whether it is still open: for the rest of a call that has looked.
///
/// Descriptors of events, timers and epoll(7) share one inode, and so do those of processes before Linux 6.9: one of them is
/// not told from another. An owner of one considers it closed with the descriptor that it serves.
#[derive(Debug)]
pub struct Kept<T: AsFd = OwnedFd> {
    fd: ManuallyDrop<T>,
    identity: Identity,
    /// The value in [`OWNERS`] while no other one has its number.
    owner: u32,
    /// Set when it was found closed: the same file may be opened again later and get the same number.
    is_lost: AtomicBool,
}

/// How many owners each number has had. If another one of this library has got the number, the program has closed the earlier
/// file descriptor, although both may be of the same device.
static OWNERS: [AtomicU32; 1024] = [const { AtomicU32::new(0) }; 1024];

/// Returns the count of a number; `None` for a number beyond the usual limit of file descriptors.
fn owners(fd: BorrowedFd<'_>) -> Option<&'static AtomicU32> {
    usize::try_from(fd.as_raw_fd()).ok().and_then(|number| OWNERS.get(number))
}

/// What identifies a file.
#[derive(Clone, Copy, Debug)]
struct Identity {
    /// The numbers of the file system, of the file, and of the device that it is.
    numbers: ([u32; 2], u64, [u32; 2]),
    /// When it was created: a file system gives the number of a removed file to the next one. Absent for pipes and sockets,
    /// and where the system does not tell.
    born: Option<(i64, u32)>,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        let both_born = self.born.zip(other.born);
        self.numbers == other.numbers && both_born.is_none_or(|(one, other)| one == other)
    }
}

impl Kept {
    /// Takes over `fd`, and moves it above the standard streams.
    pub fn new(fd: OwnedFd) -> io::Result<Kept> {
        Kept::owner(above_stdio(fd)?)
    }
}

impl Kept<File> {
    /// Takes over `fd` as a file, and moves it above the standard streams.
    pub fn file(fd: OwnedFd) -> io::Result<Kept<File>> {
        Kept::owner(above_stdio(fd)?.into())
    }
}

impl<T: AsFd> Kept<T> {
    /// Takes over the owner of a file descriptor that is above the standard streams.
    pub fn owner(fd: T) -> io::Result<Kept<T>> {
        let identity = identity(fd.as_fd())?;
        let owner = owners(fd.as_fd()).map_or(0, |count| count.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(Kept { fd: ManuallyDrop::new(fd), identity, owner, is_lost: AtomicBool::new(false) })
    }

    /// Returns the file descriptor, after one system call; `None` if the program has closed it, whatever its number is now.
    /// A program that has denied itself the system call (seccomp(2)) is taken not to have closed it.
    pub fn get(&self) -> Option<BorrowedFd<'_>> {
        if self.is_lost.load(Ordering::Relaxed) {
            return None;
        }
        let is_open = match identity(self.fd.as_fd()) {
            Ok(identity) => identity == self.identity,
            Err(error) => error != Errno::BADF,
        };
        self.unless_lost(is_open.then_some(self.fd.as_fd()))
    }

    /// Returns whether the file descriptor is still open, after one system call.
    pub fn is_open(&self) -> bool {
        self.get().is_some()
    }

    /// Returns whether `fd` belongs to the same file.
    pub fn is_open_as(&self, fd: BorrowedFd<'_>) -> bool {
        identity(fd).is_ok_and(|identity| identity == self.identity)
    }

    /// Returns the status; `None` if the program has closed the file descriptor.
    pub fn status(&self) -> Option<Statx> {
        self.unless_lost(status(self.fd.as_fd(), c"").ok().filter(|status| self.is(status)))
    }

    fn unless_lost<F>(&self, found: Option<F>) -> Option<F> {
        let has_number = owners(self.fd.as_fd()).is_none_or(|count| count.load(Ordering::Relaxed) == self.owner);
        if found.is_none() || !has_number {
            self.is_lost.store(true, Ordering::Relaxed);
        }
        found.filter(|_| !self.is_lost.load(Ordering::Relaxed))
    }

    /// Returns whether `status` is that of this file.
    pub fn is(&self, status: &Statx) -> bool {
        identity_of(status) == self.identity
    }

    /// Uses the file descriptor a last time and closes it, unless the program has closed it. Makes one system call for that,
    /// none in a call that has looked, which passes `is_open`.
    pub fn close(&mut self, is_open: bool, last: impl FnOnce(BorrowedFd<'_>)) {
        if *self.is_lost.get_mut() || !(is_open || self.is_open()) {
            return;
        }
        *self.is_lost.get_mut() = true;
        last(self.fd.as_fd());
        let _ = close(self.fd.as_fd().as_raw_fd());
    }

    /// Makes the number one of `other`, as when a program closes the file descriptor and opens another file. For tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn reuse_for(&self, other: impl AsFd) {
        crate::sys::give_number(other.as_fd(), self.fd.as_fd().as_raw_fd());
    }
}

impl<T: AsFd> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.fd
    }
}

impl<T: AsFd> AsFd for Kept<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Closes the file descriptor, unless the program has.
impl<T: AsFd> Drop for Kept<T> {
    fn drop(&mut self) {
        self.close(false, |_| {});
    }
}

/// Returns the kind, mode, owner, size, number of links and birth of a file in a directory, without following links; of the open
/// file itself if `name` is empty. Does not ask for other times: once they were asked for, Linux 6.13 keeps them with a finer
/// resolution, which slows each write down.
pub(crate) fn status(fd: impl AsFd, name: &CStr) -> rustix::io::Result<Statx> {
    let kind_and_owner = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::UID;
    let wanted = kind_and_owner | StatxFlags::NLINK | StatxFlags::INO | StatxFlags::SIZE | StatxFlags::BTIME;
    statx(fd, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH, wanted)
}

/// Returns the identity also where a sandbox denies statx(2).
fn identity(fd: BorrowedFd<'_>) -> rustix::io::Result<Identity> {
    match status(fd, c"") {
        Err(Errno::NOSYS | Errno::PERM) => {
            let stat = fstat(fd)?;
            let numbers = |device| [major(device), minor(device)];
            Ok(Identity { numbers: (numbers(stat.st_dev), stat.st_ino, numbers(stat.st_rdev)), born: None })
        }
        status => status.map(|status| identity_of(&status)),
    }
}

fn identity_of(status: &Statx) -> Identity {
    let device = [status.stx_rdev_major, status.stx_rdev_minor];
    let has_born = status.stx_mask & StatxFlags::BTIME.bits() != 0;
    Identity {
        numbers: ([status.stx_dev_major, status.stx_dev_minor], status.stx_ino, device),
        born: has_born.then_some((status.stx_btime.tv_sec, status.stx_btime.tv_nsec)),
    }
}

/// Returns whether both are of the same file.
pub(crate) fn is_same(one: &Statx, other: &Statx) -> bool {
    identity_of(one) == identity_of(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::metadata;
    use std::io::Read;
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
            let again = kept.get().unwrap().try_clone_to_owned().unwrap();
            assert!(kept.is_open_as(again.as_fd()) && kept.is(&kept.status().unwrap()));
        }
        let (mut reader, writer) = nix::unistd::pipe().map(|(reader, writer)| (File::from(reader), writer)).unwrap();
        drop(Kept::new(writer).unwrap());
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "it is closed");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_sandbox_that_denies_to_look_closes_nothing() {
        let [[fd, other], ..] = &pairs()[..] else { panic!() };
        let kept = Kept::new(fd.try_clone().unwrap()).unwrap();
        let child = crate::sys::Forked::asks(|| {
            crate::sys::deny_calls_about_files();
            status(other, c"").is_err() && fstat(other).is_err() && kept.is_open()
        });
        assert_eq!(child.status(), Some(0));
    }

    #[test]
    fn files_with_the_same_number_are_told_apart_by_their_birth() {
        let identity = |born| Identity { numbers: ([8, 1], 12, [0, 0]), born };
        assert_ne!(identity(Some((100, 1))), identity(Some((100, 2))));
        assert_eq!(identity(Some((100, 1))), identity(Some((100, 1))));
        assert_eq!(identity(Some((100, 1))), identity(None), "a sandbox tells only the numbers");
        let file = tempfile::tempfile().unwrap();
        assert!(is_same(&status(&file, c"").unwrap(), &status(&file, c"").unwrap()));
    }

    #[test]
    fn of_two_that_are_the_same_device_under_the_same_number_the_last_one_has_it() {
        // In a process of its own: here other tests open files.
        let told_apart = crate::testing::Forked::status_of(|| {
            let null = || Kept::new(File::open("/dev/null").unwrap().into()).unwrap();
            let first = null();
            let number = first.as_raw_fd();
            close(number).unwrap();
            let second = null();
            let same = second.as_raw_fd() == number && first.get().is_none() && second.get().is_some();
            drop(first);
            same && second.get().is_some()
        });
        assert_eq!(told_apart, Some(0));
    }

    #[test]
    fn a_number_that_belongs_to_another_file_is_neither_used_nor_closed() {
        for [fd, other] in pairs() {
            let (mut kept, same) = (Kept::new(fd.try_clone().unwrap()).unwrap(), fd);
            let number = kept.get().unwrap().as_raw_fd();
            kept.reuse_for(&other);
            assert!(kept.get().is_none() && kept.status().is_none());
            kept.reuse_for(&same);
            assert!(kept.get().is_none(), "opened again under the same number, which has another owner");
            kept.close(false, |_| panic!("it was used"));
            drop(kept);
            assert!(metadata(format!("/proc/self/fd/{number}")).is_ok(), "it was closed");
        }
    }
}
