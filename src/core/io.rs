// SPDX-License-Identifier: BSD-2-Clause
//! Descriptors in somebody else's process: waiting for them, writing to them without SIGPIPE, and keeping them off the
//! standard streams.

use crate::deadline::Deadline;
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

/// What one read gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Bytes came, and are in the buffer.
    Bytes,
    /// Nothing came in time.
    Nothing,
    /// The peer has closed the connection.
    End,
}

/// Waits until `fd` is ready for `events`, has failed or was hung up; `false` when the deadline came first.
pub fn wait_for(fd: BorrowedFd<'_>, events: PollFlags, deadline: &Deadline) -> Result<bool> {
    loop {
        match poll(&mut [PollFd::new(fd, events)], deadline.poll_timeout()) {
            Ok(0) if deadline.has_passed() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(crate::fail!(ReturnCode::IO_ERROR, "poll: {}", error.desc())),
        }
    }
}

/// Moves a new descriptor above the standard streams. In a program that closed one of them the next descriptor takes
/// its number, and what the program then prints would go to the TPM.
pub fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    fd.try_clone() // std promises a number of 3 or more
}

/// A file in memory that has no name elsewhere and that nobody executes (memfd_create(2)); `name` is for people.
pub fn file_in_memory(name: &CStr) -> io::Result<OwnedFd> {
    // Linux 6.3 wants to be told what older ones refuse to hear.
    let never_executed = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let made = memfd_create(name, MFdFlags::MFD_CLOEXEC | never_executed);
    let made = made.or_else(|_| memfd_create(name, MFdFlags::MFD_CLOEXEC));
    above_stdio(made?)
}

/// Takes the numbers of standard streams that are closed, for as long as the value lives: what another library opens
/// meanwhile lands above them.
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

/// A descriptor to write to again and again.
pub struct Outlet {
    fd: OwnedFd,
    kind: Kind,
}

/// What a write may do to us.
#[derive(Clone, Copy)]
enum Kind {
    /// Raise a signal when its size has a limit: a regular file.
    File,
    /// Raise a signal.
    NonBlocking,
    /// Block, and raise a signal: a pipe, a socket, a terminal.
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
    /// Looks once what the descriptor is.
    pub fn new(fd: OwnedFd) -> Outlet {
        let kind = Kind::of(fd.as_fd());
        Outlet { fd, kind }
    }

    /// As [`write_all`], within so much time.
    pub fn write_all(&self, bytes: &[u8], patience: Duration) -> io::Result<()> {
        let deadline = match self.kind {
            Kind::File => Deadline::Now, // it is never waited for, and needs no look at the clock
            Kind::NonBlocking | Kind::Blocking => Deadline::within(patience),
        };
        write_as(self.kind, self.fd.as_fd(), bytes, &deadline)
    }
}

/// Writes all bytes; to a file in one `write(2)`, to a pipe in as few as never block. Raises no signal: a reader that is
/// gone is EPIPE, a limit EFBIG. One that does not read is waited for until `deadline`, then it is EAGAIN.
pub fn write_all(fd: BorrowedFd<'_>, bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
    write_as(Kind::of(fd), fd, bytes, deadline)
}

fn write_as(kind: Kind, fd: BorrowedFd<'_>, mut bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = match kind {
            // Asked each time: the limit may have come since.
            Kind::File if crate::sys::files_are_unlimited() => write(fd, bytes).map_err(io::Error::from),
            Kind::File | Kind::NonBlocking => crate::sys::write_without_signal(fd, bytes),
            Kind::Blocking => {
                if !wait_for(fd, PollFlags::POLLOUT, deadline).is_ok_and(|ready| ready) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                // A pipe that polls writable takes so much without blocking (pipe(7)).
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

    /// A stream that does not block and takes no more, and its other end.
    fn full() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while crate::sys::write_without_signal(ours.as_fd(), &[0; 4096]).is_ok() {}
        (ours, theirs)
    }

    #[test]
    fn a_reader_that_does_not_read_is_waited_for_and_no_longer() {
        let (ours, _theirs) = full();
        for deadline in [Deadline::Now, Deadline::after(crate::Wait::Millis(1))] {
            let error = write_all(ours.as_fd(), b"x", &deadline).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_limit_that_came_after_the_file_was_opened_is_an_error_and_no_signal() {
        const LIMIT: u64 = 1 << 40; // beyond what any other test writes
        let mut file = tempfile::tempfile().unwrap();
        file.seek(io::SeekFrom::Start(LIMIT)).unwrap();
        let outlet = Outlet::new(file.into());
        let before = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(LIMIT), ..before }).unwrap();
        let error = outlet.write_all(b"x", Duration::ZERO).unwrap_err();
        setrlimit(Resource::Fsize, before).unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
    }

    #[test]
    fn a_reader_that_reads_late_gets_all() {
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
