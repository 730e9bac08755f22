// SPDX-License-Identifier: BSD-2-Clause
//! Connections of a peer: TCP, Unix sockets and pseudo-terminals.

use crate::fault::End;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd;
use socket2::{SockAddr, SockRef, Socket, Type};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How long the receiving direction outlives a half close.
const HALF_CLOSED: Duration = Duration::from_millis(20);

/// Returns a TCP port of the loopback interface; with port 0, the kernel chooses one when it is bound.
pub fn loopback(port: u16) -> SockAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()
}

/// Waits until one of these descriptors is readable or at its end. Returns for each whether it is.
pub fn readable<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: PollTimeout) -> io::Result<[bool; N]> {
    let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    while let Err(error) = poll(&mut fds, timeout) {
        if error != Errno::EINTR {
            return Err(error.into());
        }
    }
    Ok(fds.each_ref().map(|fd| fd.any().unwrap_or_default()))
}

/// A connection: TCP, a Unix socket, or the master of a pseudo-terminal.
#[derive(Debug)]
pub struct Stream(OwnedFd);

impl Stream {
    /// Connects to a server.
    pub fn connect(address: &SockAddr) -> io::Result<Stream> {
        let socket = Socket::new(address.domain(), Type::STREAM, None)?;
        socket.connect(address)?;
        Ok(Stream::over(socket))
    }

    fn over(socket: Socket) -> Stream {
        let _ = socket.set_tcp_nodelay(true); // a Unix socket has no such option
        Stream(socket.into())
    }

    /// Returns a second descriptor for the same connection.
    pub fn try_clone(&self) -> io::Result<Stream> {
        self.0.try_clone().map(Stream)
    }

    /// Ends the connection, once it has no clone. The other side may have been faster.
    pub fn end(self, end: End) {
        let socket = SockRef::from(&self.0);
        match end {
            End::Close => {} // dropping it closes it
            End::HalfClose => {
                let _ = socket.shutdown(Shutdown::Write);
                thread::sleep(HALF_CLOSED);
            }
            End::Reset => drop(socket.set_linger(Some(Duration::ZERO))),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(unistd::read(&self.0, bytes)?)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A fuzzer does not ignore SIGPIPE.
        match send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::ENOTSOCK) => Ok(unistd::write(&self.0, bytes)?),
            sent => Ok(sent?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A listening TCP or Unix socket.
#[derive(Debug)]
pub struct Listener(Socket);

impl Listener {
    /// Listens at this address.
    pub fn bind(address: &SockAddr) -> io::Result<Listener> {
        let socket = Socket::new(address.domain(), Type::STREAM, None)?;
        socket.bind(address)?;
        socket.listen(64)?;
        Ok(Listener(socket))
    }

    /// Listens on a free TCP port of the loopback interface.
    pub fn tcp() -> Listener {
        Listener::bind(&loopback(0)).unwrap()
    }

    /// Listens on a new Unix socket.
    pub fn unix(path: &Path) -> Listener {
        Listener::bind(&SockAddr::unix(path).unwrap()).unwrap()
    }

    /// Returns the address that it listens at.
    pub fn address(&self) -> SockAddr {
        self.0.local_addr().unwrap()
    }

    /// Returns the TCP port that it listens on; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        self.address().as_socket().map(|address| address.port())
    }

    /// Waits for the next connection.
    pub fn accept(&self) -> io::Result<Stream> {
        Ok(Stream::over(self.0.accept()?.0))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A raw pseudo-terminal, a character device whose other end is a [`Stream`].
#[derive(Debug)]
pub struct Terminal {
    path: PathBuf,
    /// Keeps the stream open while no program has the device open.
    _slave: OwnedFd,
}

impl Terminal {
    /// Opens a new one.
    pub fn open() -> (Terminal, Stream) {
        // Not with openpty(3): programs that the tests start would inherit its descriptors.
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = PathBuf::from(ptsname_r(&master).unwrap());
        let slave = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&path).unwrap();
        let mut attributes = tcgetattr(&slave).unwrap();
        cfmakeraw(&mut attributes);
        tcsetattr(&slave, SetArg::TCSANOW, &attributes).unwrap();
        (Terminal { path, _slave: slave.into() }, Stream(master.into()))
    }

    /// Returns the path of the device.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
