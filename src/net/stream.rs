// SPDX-License-Identifier: BSD-2-Clause
//! One connection to a simulator: a blocking socket that never raises SIGPIPE and never survives an exec.

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{self, AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrLike, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::cell::Cell;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use tcti_core::Generation;
use tcti_core::deadline::{Deadline, Wait};
use tcti_core::io::{Arrival, above_stdio, wait_for};
use tcti_core::rx::RxBuf;
use tcti_core::transport::Progress;
use tcti_core::{Error, Result, ReturnCode};

/// A connected stream socket. Dropping it ends the connection, also where a forked process has a copy of the socket,
/// unless that may go on with it.
#[derive(Debug)]
pub struct Stream {
    fd: OwnedFd,
    /// The address as messages name it.
    peer: Arc<str>,
    /// How long the peer may leave what we send unread.
    timeout: Duration,
    /// The process whose connection it is; `None`: also of those that are forked.
    owner: Option<Generation>,
    /// Whether a caller may wait for the descriptor.
    lent: Cell<bool>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.owner == Some(Generation::current()) {
            self.shut_down();
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Stream {
    /// Connects within `timeout`; ETIMEDOUT when that is over. `timeout` also bounds each later send to a peer that
    /// does not read.
    pub fn connect(
        address: &dyn SockaddrLike,
        timeout: Duration,
        peer: &Arc<str>,
    ) -> core::result::Result<Stream, Errno> {
        let family = address.family().unwrap_or(AddressFamily::Unspec);
        let fd = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        let fd = above_stdio(fd).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
        set_connect_timeout(&fd, timeout)?;
        if family != AddressFamily::Unix {
            socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?; // small writes leave at once
        }
        Stream { fd, peer: Arc::clone(peer), timeout, owner: Some(Generation::current()), lent: Cell::new(false) }
            .reconnect(address)
    }

    /// Connects a socket that `connect` made and `disconnect` left.
    pub(super) fn reconnect(self, address: &dyn SockaddrLike) -> core::result::Result<Stream, Errno> {
        let deadline = Deadline::within(self.timeout);
        loop {
            match socket::connect(self.fd.as_raw_fd(), address) {
                Ok(()) => break,
                // Interrupted, a Unix socket is as before; a TCP socket goes on connecting by itself.
                Err(Errno::EINTR) if address.family() == Some(AddressFamily::Unix) => {
                    let left = deadline.remaining().filter(|left| !left.is_zero()).ok_or(Errno::ETIMEDOUT)?;
                    set_connect_timeout(&self.fd, left)?;
                }
                Err(Errno::EINTR) => {
                    finish_connecting(self.as_fd(), &deadline)?;
                    break;
                }
                // What a time-out of SO_SNDTIMEO looks like on a TCP and on a Unix socket (socket(7), connect(2)).
                Err(Errno::EINPROGRESS | Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
                Err(error) => return Err(error),
            }
        }
        Ok(self)
    }

    /// Resets a TCP connection, so that it leaves no TIME_WAIT behind and a program that connects once per command does
    /// not run out of ports; gives the socket, for the next connection. Only when nothing is left to be said. A socket
    /// that the caller may wait for is closed: in an epoll set it would report an error without end.
    pub(super) fn disconnect(self) -> Option<Stream> {
        crate::sys::disconnect(self.as_fd()).ok()?;
        (!self.lent.get()).then_some(self)
    }

    /// The connection, for this process and those that are forked from it.
    pub fn shared(mut self) -> Stream {
        self.owner = None;
        self
    }

    /// Ends the connection in every process that has it.
    pub fn end(self) {
        self.shut_down();
    }

    /// Ends the connection in every process that has it; the descriptor stays. It fails when the peer was faster.
    pub fn shut_down(&self) {
        let _ = socket::shutdown(self.fd.as_raw_fd(), Shutdown::Both);
    }

    /// The descriptor, for a caller who waits for the response.
    pub fn lend(&self) -> RawFd {
        self.lent.set(true);
        self.fd.as_raw_fd()
    }

    /// Wraps a connected socket; `peer` names it in messages.
    #[cfg(test)]
    fn from_connected(fd: OwnedFd, peer: &str) -> Stream {
        let (timeout, owner) = (Duration::from_secs(30), Some(Generation::current()));
        Stream { fd, peer: peer.into(), timeout, owner, lent: Cell::new(false) }
    }

    /// Whether nothing waits to be read and the peer is there: a kept connection may carry the next command. What came
    /// unasked would be taken for its response.
    pub fn is_quiet(&self) -> bool {
        let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        socket::recv(self.fd.as_raw_fd(), &mut [0], peek) == Err(Errno::EAGAIN)
    }

    /// Acknowledges what arrives next at once (`TCP_QUICKACK`), for a peer that writes one message in pieces and waits
    /// in between (Nagle's algorithm). The kernel forgets this soon, so it is for one exchange. Only for TCP.
    pub fn acknowledge_at_once(&self) -> Result<()> {
        crate::sys::set_quickack(self.as_fd())
            .map_err(|error| tcti_core::fail!(ReturnCode::IO_ERROR, "TCP_QUICKACK: {error}"))
    }

    /// Sends all parts, one after the other, gathered into as few writes as the socket takes.
    pub fn send(&self, parts: &mut [IoSlice<'_>]) -> Result<()> {
        self.send_with(MsgFlags::empty(), parts)
    }

    /// Sends a last word and ends the connection as [`end`](Self::end) does: over TCP both go in one packet (`MSG_MORE`, send(2)).
    /// The descriptor stays, for a caller who waits for it.
    pub fn end_with(&self, parts: &mut [IoSlice<'_>]) -> Result<()> {
        let sent = self.send_with(MsgFlags::from_bits_retain(libc::MSG_MORE), parts);
        self.shut_down();
        sent
    }

    fn send_with(&self, flags: MsgFlags, parts: &mut [IoSlice<'_>]) -> Result<()> {
        let mut deadline = None; // that of a peer which does not read
        let (fd, flags) = (self.fd.as_raw_fd(), flags | MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
        let mut rest = parts;
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let sent = match &*rest {
                [whole] => socket::send(fd, whole, flags), // less for the kernel to read
                parts => socket::sendmsg::<()>(fd, parts, &[], flags, None),
            };
            match sent {
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if !deadline.is_some_and(|deadline: Deadline| deadline.has_passed()) => {
                    let deadline = deadline.get_or_insert_with(|| Deadline::within(self.timeout));
                    wait_for(self.as_fd(), PollFlags::POLLOUT, deadline)?;
                }
                Err(error) => return Err(self.failed("cannot send to", error)),
            }
        }
        Ok(())
    }

    /// Collects a response by its header: adds what arrives to `rx` until it is whole or `wait` is over.
    pub fn recv(&self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let deadline = Deadline::after(wait);
        while rx.missing()? > 0 {
            match self.recv_some(rx, &deadline)? {
                Arrival::Bytes => {}
                Arrival::Nothing => return Ok(Progress::Pending),
                Arrival::End => return Err(self.ended(rx)),
            }
        }
        Ok(Progress::Complete)
    }

    /// The error of a connection that ended before its message did.
    pub fn ended(&self, rx: &RxBuf) -> Error {
        tcti_core::fail!(
            ReturnCode::IO_ERROR,
            "{} closed the connection after {} bytes of its answer",
            self.peer,
            rx.len()
        )
    }

    /// Adds what one read gives to `rx`.
    pub fn recv_some(&self, rx: &mut RxBuf, deadline: &Deadline) -> Result<Arrival> {
        let flags = match deadline {
            Deadline::Never => MsgFlags::empty(), // the socket itself waits, which saves the poll
            Deadline::Now | Deadline::At(_) => MsgFlags::MSG_DONTWAIT,
        };
        loop {
            match rx.read_with(|room| socket::recv(self.fd.as_raw_fd(), room, flags))? {
                Ok(0) => return Ok(Arrival::End),
                Ok(_) => return Ok(Arrival::Bytes),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if deadline.has_passed() => return Ok(Arrival::Nothing),
                Err(Errno::EAGAIN) => {
                    wait_for(self.as_fd(), PollFlags::POLLIN, deadline)?;
                }
                Err(error) => return Err(self.failed("cannot receive from", error)),
            }
        }
    }

    fn failed(&self, what: &str, error: Errno) -> Error {
        let reason = match error {
            Errno::EAGAIN => "the peer does not read",
            other => other.desc(),
        };
        tcti_core::fail!(ReturnCode::IO_ERROR, "{what} {}: {reason}", self.peer)
    }
}

/// Bounds connect; `send` has a deadline of its own.
fn set_connect_timeout(fd: &OwnedFd, timeout: Duration) -> core::result::Result<(), Errno> {
    let micros = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX);
    socket::setsockopt(fd, sockopt::SendTimeout, &TimeVal::microseconds(micros.max(1000)))
}

/// A TCP connect that a signal interrupted goes on by itself; this waits for its end.
fn finish_connecting(fd: BorrowedFd<'_>, deadline: &Deadline) -> core::result::Result<(), Errno> {
    match wait_for(fd, PollFlags::POLLOUT, deadline) {
        Ok(true) => match socket::getsockopt(&fd, sockopt::SocketError)? {
            0 => Ok(()),
            error => Err(Errno::from_raw(error)),
        },
        Ok(false) => Err(Errno::ETIMEDOUT),
        Err(_) => Err(Errno::EIO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::Barrier;
    use tcti_core::testing::{OK, Step, play};

    fn pair(steps: Vec<Step>) -> (Stream, std::thread::JoinHandle<Vec<u8>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Stream::from_connected(ours.into(), "the peer"), play(theirs, steps))
    }

    #[test]
    fn a_response_may_come_one_byte_at_a_time() {
        let (stream, peer) = pair(OK.iter().map(|byte| Step::write(&[*byte])).collect());
        let mut rx = RxBuf::new();
        assert_eq!(stream.recv(&mut rx, Wait::Forever), Ok(Progress::Complete));
        assert_eq!(rx.as_slice(), OK);
        peer.join().unwrap();
    }

    #[test]
    fn an_end_at_any_offset_is_an_error() {
        for cut in 0..OK.len() {
            let (stream, peer) = pair(vec![Step::write(&OK[..cut])]);
            peer.join().unwrap();
            assert_eq!(
                stream.recv(&mut RxBuf::new(), Wait::Forever),
                Err(ReturnCode::IO_ERROR.into()),
                "after {cut} bytes"
            );
        }
    }

    #[test]
    fn a_timeout_at_any_offset_loses_nothing() {
        for cut in 0..OK.len() {
            let barrier = Arc::new(Barrier::new(2));
            let (stream, peer) =
                pair(vec![Step::write(&OK[..cut]), Step::Await(Arc::clone(&barrier)), Step::write(&OK[cut..])]);
            let mut rx = RxBuf::new();
            while rx.len() < cut {
                assert_eq!(stream.recv(&mut rx, Wait::Millis(1)), Ok(Progress::Pending));
            }
            assert_eq!(stream.recv(&mut rx, Wait::Millis(0)), Ok(Progress::Pending));
            assert_eq!(stream.recv(&mut rx, Wait::Millis(5)), Ok(Progress::Pending));
            barrier.wait();
            assert_eq!(stream.recv(&mut rx, Wait::Forever), Ok(Progress::Complete));
            assert_eq!(rx.as_slice(), OK);
            peer.join().unwrap();
        }
    }

    #[test]
    fn sending_to_a_closed_peer_is_an_error_and_no_signal() {
        let (stream, peer) = pair(vec![]);
        peer.join().unwrap();
        assert_eq!(stream.send(&mut [IoSlice::new(OK)]), Err(ReturnCode::IO_ERROR.into()));
    }

    #[test]
    fn a_connection_with_something_on_it_is_not_quiet() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let stream = Stream::from_connected(ours.into(), "the peer");
        assert!(stream.is_quiet());
        std::io::Write::write_all(&mut theirs, b"x").unwrap();
        assert!(!stream.is_quiet());
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(!Stream::from_connected(ours.into(), "the peer").is_quiet());
    }

    #[test]
    fn an_end_reaches_the_peer_whatever_a_forked_process_holds() {
        let (ours, child) = (Some(Generation::current()), Some(Generation::parent()));
        for (owner, ends) in [(ours, true), (child, false), (None, false)] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (copy, theirs_again) = (ours.try_clone().unwrap(), theirs.try_clone().unwrap());
            let mut stream = Stream::from_connected(ours.into(), "the peer");
            stream.owner = owner;
            drop(stream);
            assert_eq!(Stream::from_connected(theirs.into(), "us").is_quiet(), !ends);
            Stream::from_connected(copy.into(), "the peer").shared().end();
            assert!(!Stream::from_connected(theirs_again.into(), "us").is_quiet(), "for everybody");
        }
    }

    #[test]
    fn parts_arrive_in_order() {
        let (stream, peer) = pair(vec![Step::Read(6)]);
        stream.send(&mut [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cdef")]).unwrap();
        assert_eq!(peer.join().unwrap(), b"abcdef");
    }
}
