// SPDX-License-Identifier: BSD-2-Clause
//! A connection to a simulator: [`Stream`] is a blocking socket that never raises SIGPIPE and is closed on exec.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrLike, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use tcti_core::Generation;
use tcti_core::deadline::{Deadline, Wait};
use tcti_core::io::{Arrival, poll_until, wait_for};
use tcti_core::kept::Kept;
use tcti_core::rx::RxBuf;
use tcti_core::transport::Progress;
use tcti_core::{Error, Result, ReturnCode};

/// A connected stream socket. Dropping it ends the connection, even if a forked process has a copy of the socket, unless the
/// connection is [`shared`](Stream::shared).
#[derive(Debug)]
pub struct Stream {
    fd: Kept,
    /// The address, as shown in messages.
    peer: Arc<str>,
    /// The time limit for a connection attempt, and for sending to a peer that does not read.
    timeout: Duration,
    /// The process that owns the connection; `None` if forked processes share it.
    owner: Option<Generation>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let owns = self.owner == Some(Generation::current());
        self.close(false, owns);
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Stream {
    /// Connects; fails with ETIMEDOUT after `timeout`. The same limit applies to each later send to a peer that does not
    /// read.
    pub fn connect(
        address: &dyn SockaddrLike,
        timeout: Duration,
        peer: &Arc<str>,
    ) -> core::result::Result<Stream, Errno> {
        let family = address.family().unwrap_or(AddressFamily::Unspec);
        let fd = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        let fd = Kept::new(fd).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
        set_connect_timeout(&fd, timeout)?;
        if family != AddressFamily::Unix {
            socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?; // sends small writes at once
        }
        Stream { fd, peer: Arc::clone(peer), timeout, owner: Some(Generation::current()) }.reconnect(address)
    }

    /// Connects a socket that `connect` has created or that `disconnect` has returned.
    pub(super) fn reconnect(self, address: &dyn SockaddrLike) -> core::result::Result<Stream, Errno> {
        let deadline = Deadline::within(self.timeout);
        loop {
            match socket::connect(self.fd.as_raw_fd(), address) {
                Ok(()) => break,
                // After a signal a Unix socket is unchanged, whereas a TCP socket continues to connect in the background.
                Err(Errno::EINTR) if address.family() == Some(AddressFamily::Unix) => {
                    let left = deadline.remaining().filter(|left| !left.is_zero()).ok_or(Errno::ETIMEDOUT)?;
                    set_connect_timeout(&self.fd, left)?;
                }
                Err(Errno::EINTR) => {
                    finish_connecting(self.as_fd(), &deadline)?;
                    break;
                }
                // The errors of SO_SNDTIMEO on a TCP and on a Unix socket (socket(7), connect(2)).
                Err(Errno::EINPROGRESS | Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
                Err(error) => return Err(error),
            }
        }
        Ok(self)
    }

    /// Resets a TCP connection, so that it leaves no TIME_WAIT and a program that connects for each command does not run out of
    /// ports. Returns the socket for the next connection. Only for a connection on which all data has been exchanged.
    pub(super) fn disconnect(self) -> Option<Stream> {
        crate::sys::disconnect(self.as_fd()).ok()?;
        Some(self)
    }

    /// Returns whether the file descriptor is open. If the program has closed it, its number may be that of another file, and
    /// the functions of this type that use it must not be called, except those that end the connection.
    pub fn is_open(&self) -> bool {
        self.fd.is_open()
    }

    /// Shares the connection with processes that are forked from this one: a drop in one of them does not end it.
    pub fn shared(mut self) -> Stream {
        self.owner = None;
        self
    }

    /// Ends the connection for every process that has a copy of the socket.
    pub fn end(mut self) {
        self.close(false, true);
    }

    /// Ends the connection as [`end`](Self::end) does, in a call that has used it. Leaves no socket for another one.
    pub(super) fn end_now(mut self) -> Option<Stream> {
        self.close(true, true);
        None
    }

    /// Closes the file descriptor, and before that the connection `for_all` processes that have a copy. `is_open` says that
    /// this call has used it.
    fn close(&mut self, is_open: bool, for_all: bool) {
        // Fails if the peer has already ended the connection.
        self.fd.close(is_open, |fd| {
            let _ = for_all.then(|| socket::shutdown(fd.as_raw_fd(), Shutdown::Both));
        });
    }

    /// Returns the number of the file descriptor, to poll for the response.
    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Wraps a connected socket; messages show `peer`.
    #[cfg(test)]
    fn from_connected(fd: OwnedFd, peer: &str) -> Stream {
        let (timeout, owner) = (Duration::from_secs(30), Some(Generation::current()));
        Stream { fd: Kept::new(fd).unwrap(), peer: peer.into(), timeout, owner }
    }

    /// Returns whether the peer is connected and no byte has arrived, so that the next command may be sent. Unexpected bytes
    /// would be taken for its response.
    pub fn is_quiet(&self) -> bool {
        poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(0)
    }

    /// Acknowledges the next data at once (`TCP_QUICKACK`), for a peer that writes one message in several pieces and waits for
    /// an acknowledgement in between (Nagle's algorithm). The kernel soon resets the option, so set it for each exchange. Only
    /// for TCP.
    pub fn acknowledge_at_once(&self) -> Result<()> {
        crate::sys::set_quickack(self.as_fd())
            .map_err(|error| tcti_core::fail!(ReturnCode::IO_ERROR, "TCP_QUICKACK: {error}"))
    }

    /// Sends all parts in order, with as few system calls as possible.
    pub fn send(&self, parts: &mut [IoSlice<'_>]) -> Result<()> {
        self.send_with(MsgFlags::empty(), parts)
    }

    /// Sends a last message and ends the connection as [`end`](Self::end) does, over TCP in one packet (`MSG_MORE`, send(2)).
    pub fn end_with(mut self, parts: &mut [IoSlice<'_>]) -> Result<()> {
        let is_open = self.is_open();
        let sent = match is_open {
            true => self.send_with(MsgFlags::from_bits_retain(libc::MSG_MORE), parts),
            false => Err(self.failed("cannot send to", Errno::EBADF)),
        };
        self.close(is_open, true);
        sent
    }

    fn send_with(&self, flags: MsgFlags, parts: &mut [IoSlice<'_>]) -> Result<()> {
        let mut deadline = None; // set once the peer does not read
        let (fd, flags) = (self.fd.as_raw_fd(), flags | MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
        let mut rest = parts;
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let sent = match &*rest {
                [whole] => socket::send(fd, whole, flags), // faster in the kernel
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

    /// Receives a response: appends bytes to `rx` until the response is complete or `wait` is over.
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

    /// Returns the error of a connection that ended before the message was complete.
    pub fn ended(&self, rx: &RxBuf) -> Error {
        tcti_core::fail!(
            ReturnCode::IO_ERROR,
            "{} closed the connection after {} bytes of its response",
            self.peer,
            rx.len()
        )
    }

    /// Appends the bytes of one read to `rx`.
    pub fn recv_some(&self, rx: &mut RxBuf, deadline: &Deadline) -> Result<Arrival> {
        let flags = match deadline {
            Deadline::Never => MsgFlags::empty(), // recv itself blocks, which saves a poll
            Deadline::Now | Deadline::At(_) => MsgFlags::MSG_DONTWAIT,
        };
        loop {
            match rx.read_with(|space| socket::recv(self.fd.as_raw_fd(), space, flags))? {
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

/// Sets the time limit of connect; sends do not block and use a deadline instead.
fn set_connect_timeout(fd: &OwnedFd, timeout: Duration) -> core::result::Result<(), Errno> {
    let micros = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX);
    socket::setsockopt(fd, sockopt::SendTimeout, &TimeVal::microseconds(micros.max(1000)))
}

/// Waits for a TCP connect that a signal has interrupted and that continues in the background.
fn finish_connecting(fd: BorrowedFd<'_>, deadline: &Deadline) -> core::result::Result<(), Errno> {
    match poll_until(fd, PollFlags::POLLOUT, deadline)? {
        true => match socket::getsockopt(&fd, sockopt::SocketError)? {
            0 => Ok(()),
            error => Err(Errno::from_raw(error)),
        },
        false => Err(Errno::ETIMEDOUT),
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
    fn a_response_may_arrive_one_byte_at_a_time() {
        let (stream, peer) = pair(OK.iter().map(|byte| Step::write(&[*byte])).collect());
        let mut rx = RxBuf::new();
        assert_eq!(stream.recv(&mut rx, Wait::Forever), Ok(Progress::Complete));
        assert_eq!(rx.as_slice(), OK);
        peer.join().unwrap();
    }

    #[test]
    fn a_connection_closed_at_any_offset_is_an_error() {
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
    fn sending_to_a_closed_peer_is_an_error_and_raises_no_signal() {
        let (stream, peer) = pair(vec![]);
        peer.join().unwrap();
        assert_eq!(stream.send(&mut [IoSlice::new(OK)]), Err(ReturnCode::IO_ERROR.into()));
    }

    #[test]
    fn a_connection_with_unread_bytes_or_without_a_peer_is_not_quiet() {
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
    fn the_owner_ends_the_connection_despite_copies_in_forked_processes() {
        let (ours, child) = (Some(Generation::current()), Some(Generation::parent()));
        for (owner, ends) in [(ours, true), (child, false), (None, false)] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (copy, theirs_again) = (ours.try_clone().unwrap(), theirs.try_clone().unwrap());
            let mut stream = Stream::from_connected(ours.into(), "the peer");
            stream.owner = owner;
            drop(stream);
            assert_eq!(Stream::from_connected(theirs.into(), "us").is_quiet(), !ends);
            Stream::from_connected(copy.into(), "the peer").shared().end();
            assert!(!Stream::from_connected(theirs_again.into(), "us").is_quiet(), "end must close every copy");
        }
    }

    #[test]
    fn parts_arrive_in_order() {
        let (stream, peer) = pair(vec![Step::Read(6)]);
        stream.send(&mut [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cdef")]).unwrap();
        assert_eq!(peer.join().unwrap(), b"abcdef");
    }
}
