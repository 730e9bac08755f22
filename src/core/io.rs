// SPDX-License-Identifier: BSD-2-Clause
//! Handles file descriptors in a host process: waits for them, writes to them without raising SIGPIPE, and keeps them away
//! from the numbers of the standard streams.

use crate::deadline::Deadline;
use crate::kept::Kept;
use crate::{Result, ReturnCode};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::write;
use rustix::fs::{FileType, fstat};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

pub use crate::sys::runs_with_foreign_rights;

/// The result of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Bytes have arrived and are in the buffer.
    Bytes,
    /// No byte arrived before the deadline.
    Nothing,
    /// The peer has closed the connection.
    End,
}

/// Waits until `fd` is ready for `events`, or reports an error or a hang-up. Returns `false` if the deadline passes first.
pub fn wait_for(fd: BorrowedFd<'_>, events: PollFlags, deadline: &Deadline) -> Result<bool> {
    poll_until(fd, events, deadline).map_err(|error| crate::fail!(ReturnCode::IO_ERROR, "poll: {}", error.desc()))
}

/// Does the same, and returns the error of `poll(2)`.
pub fn poll_until(fd: BorrowedFd<'_>, events: PollFlags, deadline: &Deadline) -> nix::Result<bool> {
    loop {
        match poll(&mut [PollFd::new(fd, events)], deadline.poll_timeout()) {
            Ok(0) if deadline.has_passed() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

/// Moves a new file descriptor above the standard streams. In a program that has closed one of those, the next descriptor
/// gets its number, and the output of the program would be sent to the TPM.
pub fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    fd.try_clone() // std guarantees a number of 3 or more
}

/// Creates an anonymous file in memory that cannot be executed (memfd_create(2)). `name` only appears in /proc.
pub fn file_in_memory(name: &CStr) -> io::Result<OwnedFd> {
    // Linux 6.3 and later warn without this flag; older kernels reject it.
    let never_executed = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let made = memfd_create(name, MFdFlags::MFD_CLOEXEC | never_executed);
    let made = made.or_else(|_| memfd_create(name, MFdFlags::MFD_CLOEXEC));
    above_stdio(made?)
}

/// Occupies the numbers of closed standard streams until the returned value is dropped, so that files that another library
/// opens in the meantime get higher numbers.
pub fn hold_stdio() -> Vec<OwnedFd> {
    let mut held = Vec::new();
    while let Ok(null) = std::fs::File::open("/dev/null") {
        if null.as_raw_fd() > 2 {
            break;
        }
        held.push(null.into());
    }
    held
}

/// A file descriptor that is written to repeatedly, and that the program may have closed in the meantime.
pub struct Outlet {
    kept: Kept,
    kind: Kind,
}

/// How a write may disturb the host process.
#[derive(Clone, Copy)]
enum Kind {
    /// It may raise a signal if file sizes are limited: a regular file.
    File,
    /// It may raise a signal.
    NonBlocking,
    /// It may block and raise a signal: a pipe, a socket, a terminal.
    Blocking,
}

impl Kind {
    fn of(fd: BorrowedFd<'_>) -> Kind {
        if fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file()) {
            return Kind::File;
        }
        let flags = fcntl(fd, FcntlArg::F_GETFL).map_or(OFlag::empty(), OFlag::from_bits_retain);
        if flags.contains(OFlag::O_NONBLOCK) { Kind::NonBlocking } else { Kind::Blocking }
    }
}

impl Outlet {
    /// Takes over `fd` and determines its kind once.
    pub fn new(fd: OwnedFd) -> io::Result<Outlet> {
        let kind = Kind::of(fd.as_fd());
        Ok(Outlet { kept: Kept::new(fd)?, kind })
    }

    /// Writes like [`write_all`], with a deadline `timeout` from now. Fails with EBADF if the program has closed the file
    /// descriptor.
    pub fn write_all(&self, bytes: &[u8], timeout: Duration) -> io::Result<()> {
        let deadline = match self.kind {
            Kind::File => Deadline::Now, // never waits, so the clock need not be read
            Kind::NonBlocking | Kind::Blocking => Deadline::within(timeout),
        };
        write_as(self.kind, self.kept.get().ok_or(Errno::EBADF)?, bytes, &deadline)
    }

    /// Returns whether `fd` belongs to the same file.
    pub fn is_open_as(&self, fd: BorrowedFd<'_>) -> bool {
        self.kept.is_open_as(fd)
    }

    /// See [`Kept::reuse_for`].
    #[cfg(any(test, feature = "testing"))]
    pub fn reuse_for(&self, other: impl AsFd) {
        self.kept.reuse_for(other);
    }
}

/// Writes all bytes: to a file in one `write(2)`, to a pipe in the fewest writes that never block. Raises no signal: fails
/// with EPIPE if the reader is gone and with EFBIG beyond a file size limit. Waits for a reader that does not read until
/// `deadline`, then fails with EAGAIN.
pub fn write_all(fd: BorrowedFd<'_>, bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
    write_as(Kind::of(fd), fd, bytes, deadline)
}

fn write_as(kind: Kind, fd: BorrowedFd<'_>, mut bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = match kind {
            // Checked each time, because the limit may have been set since.
            Kind::File if crate::sys::files_are_unlimited() => write(fd, bytes).map_err(io::Error::from),
            Kind::File | Kind::NonBlocking => crate::sys::write_without_signal(fd, bytes),
            Kind::Blocking => {
                if !wait_for(fd, PollFlags::POLLOUT, deadline).is_ok_and(|ready| ready) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                // A writable pipe accepts PIPE_BUF bytes without blocking (pipe(7)).
                crate::sys::write_without_signal(fd, bytes.get(..libc::PIPE_BUF).unwrap_or(bytes))
            }
        };
        match written {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !wait_for(fd, PollFlags::POLLOUT, deadline).is_ok_and(|ready| ready) {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::io::{Read, Seek};
    use std::os::unix::net::UnixStream;

    /// Returns a non-blocking stream whose buffer is full, and its other end.
    fn full() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while crate::sys::write_without_signal(ours.as_fd(), &[0; 4096]).is_ok() {}
        (ours, theirs)
    }

    #[test]
    fn a_write_to_a_full_stream_times_out() {
        let (ours, _theirs) = full();
        for deadline in [Deadline::Now, Deadline::after(crate::Wait::Millis(1))] {
            let error = write_all(ours.as_fd(), b"x", &deadline).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_file_size_limit_set_after_opening_is_an_error_and_raises_no_signal() {
        const LIMIT: u64 = 1 << 40; // larger than any file of another test
        let mut file = tempfile::tempfile().unwrap();
        file.seek(io::SeekFrom::Start(LIMIT)).unwrap();
        let outlet = Outlet::new(file.into()).unwrap();
        let before = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(LIMIT), ..before }).unwrap();
        let error = outlet.write_all(b"x", Duration::ZERO).unwrap_err();
        setrlimit(Resource::Fsize, before).unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
    }

    #[test]
    fn a_late_reader_receives_all_bytes() {
        let (ours, mut theirs) = full();
        let reader = std::thread::spawn(move || {
            let mut seen = Vec::new();
            theirs.read_to_end(&mut seen).unwrap();
            seen
        });
        write_all(ours.as_fd(), &[1; 1 << 20], &Deadline::Never).unwrap();
        drop(ours);
        assert_eq!(reader.join().unwrap().iter().filter(|&&byte| byte == 1).count(), 1 << 20);
    }
}
