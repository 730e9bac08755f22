// SPDX-License-Identifier: BSD-2-Clause
//! A program that closes every file descriptor, as a daemon does, those of our contexts included, and then opens other files,
//! which get the same numbers: [`assert_closed_descriptors_are_left_alone`].
#![expect(clippy::unwrap_used, reason = "only tests call this")]

use super::{Forked, GET_RANDOM, OK};
use crate::deadline::Wait;
use crate::io::file_in_memory;
use crate::session::{Received, Session};
use crate::sys::give_number;
use crate::transport::Transport;
use crate::{ReturnCode, Tcti};
use nix::sys::socket::{MsgFlags, recv};
use std::fs::{File, read_dir, read_link};
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// What is in the file, and what has arrived on the socket.
const CONTENT: &[u8] = b"nobody else's business";

/// A file or a connection of the program, with many file descriptors.
pub struct Stranger {
    kind: Kind,
    numbers: Vec<RawFd>,
}

enum Kind {
    File(File),
    /// The program's end of a connection, and the other one.
    Socket(UnixStream, UnixStream),
}

impl Stranger {
    /// Creates a regular file.
    pub fn file() -> Stranger {
        let mut file = File::from(file_in_memory(c"stranger").unwrap());
        file.write_all(CONTENT).unwrap();
        file.rewind().unwrap();
        Stranger { kind: Kind::File(file), numbers: Vec::new() }
    }

    /// Creates a connection, on which bytes have arrived.
    pub fn socket() -> Stranger {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(CONTENT).unwrap();
        Stranger { kind: Kind::Socket(socket, peer), numbers: Vec::new() }
    }

    /// Gives the stranger the numbers of all file descriptors of this process but the standard streams and `others`. Only for
    /// a forked process, since other tests have file descriptors, too.
    pub fn take_over(&mut self, others: &[RawFd]) {
        let (own, peer): (OwnedFd, _) = match &self.kind {
            Kind::File(file) => (file.try_clone().unwrap().into(), None),
            Kind::Socket(socket, peer) => (socket.try_clone().unwrap().into(), Some(peer.as_raw_fd())),
        };
        let is_free = |number: &RawFd| *number > 2 && Some(*number) != peer && !others.contains(number);
        let entries: Vec<_> = read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let numbers = entries.iter().map(|name| name.to_str().unwrap().parse().unwrap());
        self.numbers = numbers.filter(is_free).collect();
        let own_number = own.as_raw_fd();
        self.numbers
            .iter()
            .filter(|number| **number != own_number)
            .for_each(|number| give_number(own.as_fd(), *number));
        self.numbers.retain(|number| *number != own_number);
    }

    /// Returns whether nobody has closed, read, written or shut down anything of the stranger.
    pub fn is_untouched(&self) -> bool {
        let link = |number: RawFd| read_link(format!("/proc/self/fd/{number}")).unwrap_or(PathBuf::new());
        let (own, is_unchanged) = match &self.kind {
            Kind::File(file) => {
                let mut content = [0; CONTENT.len() + 1];
                let size = file.read_at(&mut content, 0).unwrap();
                (file.as_raw_fd(), content.get(..size) == Some(CONTENT) && (&*file).stream_position().unwrap() == 0)
            }
            Kind::Socket(socket, peer) => {
                let mut content = [0; CONTENT.len() + 1];
                let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
                let size = recv(socket.as_raw_fd(), &mut content, peek).unwrap();
                let is_quiet = recv(peer.as_raw_fd(), &mut [0], peek) == Err(nix::errno::Errno::EAGAIN);
                (socket.as_raw_fd(), content.get(..size) == Some(CONTENT) && is_quiet)
            }
        };
        is_unchanged && self.numbers.iter().all(|number| link(*number) == link(own))
    }
}

fn runs<T: Transport>(session: &mut Session<T>) -> bool {
    session.transmit(GET_RANDOM).is_ok() && session.receive(Some(4096), Wait::Forever) == Ok(Received::Response(OK))
}

/// Fails unless a context whose file descriptors the program has closed continues with a new connection, and does not touch
/// the program's files that have their numbers. A response that was due is an `IO_ERROR`.
pub fn assert_closed_descriptors_are_left_alone<T: Transport>(open: impl Fn() -> Session<T>) {
    for kind in 0..2 {
        let stranger = || if kind == 0 { Stranger::file() } else { Stranger::socket() };
        let between_commands = Forked::asks(|| {
            let (mut session, mut stranger) = (open(), stranger());
            let before = runs(&mut session) && session.poll_handle().is_ok();
            stranger.take_over(&[]);
            let after = runs(&mut session) && session.poll_handle().is_ok() && runs(&mut session);
            drop(session);
            before && after && stranger.is_untouched()
        });
        assert_eq!(between_commands.status(), Some(0), "between commands");
        let while_a_response_is_due = Forked::asks(|| {
            let (mut session, mut stranger) = (open(), stranger());
            session.transmit(GET_RANDOM).unwrap();
            session.poll_handle().unwrap();
            stranger.take_over(&[]);
            let lost = session.receive(Some(4096), Wait::Forever) == Err(ReturnCode::IO_ERROR.into());
            let after = runs(&mut session);
            drop(session);
            lost && after && stranger.is_untouched()
        });
        assert_eq!(while_a_response_is_due.status(), Some(0), "while a response is due");
        for is_due in [false, true] {
            let finalize = Forked::asks(|| {
                let (mut session, mut stranger) = (open(), stranger());
                let before = if is_due { session.transmit(GET_RANDOM).is_ok() } else { runs(&mut session) };
                stranger.take_over(&[]);
                drop(session);
                before && stranger.is_untouched()
            });
            assert_eq!(finalize.status(), Some(0), "at Finalize");
        }
        let a_forked_process = Forked::asks(|| {
            let (mut session, mut stranger) = (open(), stranger());
            let before = runs(&mut session);
            let child = Forked::asks(|| {
                stranger.take_over(&[]);
                let after = runs(&mut session);
                after && stranger.is_untouched()
            });
            before && child.status() == Some(0)
        });
        assert_eq!(a_forked_process.status(), Some(0), "in a forked process");
    }
}
