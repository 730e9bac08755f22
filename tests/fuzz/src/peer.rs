// SPDX-License-Identifier: BSD-2-Clause
//! A simulator that does what the fuzzer says: a data channel that the target plays between two calls, and a control
//! channel that a thread serves, since a call waits for its replies.

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

/// What comes back for a control command.
#[derive(Arbitrary, Clone, Debug)]
pub enum Reply {
    /// Success.
    Success,
    /// This code.
    Code(u32),
    /// So many bytes of success, then the connection ends.
    Cut(u8),
    /// So many bytes after the success.
    More(u8),
    /// The connection ends.
    End,
    /// Nothing.
    Silence,
}

/// Either kind of socket.
#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    fn accept(&self) -> io::Result<Connection> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Connection::Tcp(stream)
            }
            Listener::Unix(listener) => Connection::Unix(listener.accept()?.0),
        })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Connection {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Connection::Tcp(stream) => stream.as_fd(),
            Connection::Unix(stream) => stream.as_fd(),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.read(bytes),
            Connection::Unix(stream) => stream.read(bytes),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => stream.write_all(bytes),
            Connection::Unix(stream) => stream.write_all(bytes),
        }
    }
}

/// A simulator at an address of its own, for the life of the process.
pub struct Peer {
    data: Listener,
    current: Option<Connection>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    address: String,
}

/// How long one waits for what is on its way within this machine, in milliseconds.
const SOON: u16 = 5000;

fn is_readable(fd: BorrowedFd<'_>, millis: u16) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(millis)).is_ok_and(|count| count > 0)
}

impl Peer {
    /// On TCP, or on a Unix socket. A control command whose code is `farewell` has no reply.
    pub fn new(tcp: bool, farewell: Option<u32>) -> Peer {
        let (data, control, address) = if tcp {
            let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = |listener: &TcpListener| listener.local_addr().expect("its address").port();
            let (data, control) = (listen(), listen());
            let address = format!("host=127.0.0.1,port={},ctrl_port={}", port(&data), port(&control));
            (Listener::Tcp(data), Listener::Tcp(control), address)
        } else {
            let dir = tempfile::tempdir().expect("a directory").keep();
            let path = dir.join("s").to_str().expect("a path").to_owned();
            let listen = |path: &str| Listener::Unix(UnixListener::bind(path).expect("a socket"));
            (listen(&path), listen(&format!("{path}.ctrl")), format!("path={path}"))
        };
        let replies = Arc::<Mutex<VecDeque<Reply>>>::default();
        let played = Arc::clone(&replies);
        spawn(move || serve(&control, &played, farewell));
        Peer { data, current: None, replies, address }
    }

    /// For a configuration string.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Begins anew: no connection, and these replies, then successes.
    pub fn reset(&mut self, replies: &[Reply]) {
        self.current = None;
        while is_readable(self.data.fd(), 0) {
            drop(self.data.accept());
        }
        self.set_replies(replies);
    }

    /// What comes back for the next control commands; later ones succeed.
    pub fn set_replies(&mut self, replies: &[Reply]) {
        *self.replies.lock().expect("nobody panics") = replies.iter().cloned().collect();
    }

    /// Reads so many bytes, from the connection that is newest.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let mut fds = vec![PollFd::new(self.data.fd(), PollFlags::POLLIN)];
            fds.extend(self.current.iter().map(|current| PollFd::new(current.fd(), PollFlags::POLLIN)));
            assert!(poll(&mut fds, PollTimeout::from(SOON)).is_ok_and(|count| count > 0), "nothing was sent");
            let is_new = fds[0].any() == Some(true);
            if is_new {
                (self.current, bytes) = (self.data.accept().ok(), Vec::new());
            } else if let Some(current) = &mut self.current {
                let mut room = vec![0; count - bytes.len()];
                match current.read(&mut room) {
                    Ok(0) | Err(_) => (self.current, bytes) = (None, Vec::new()),
                    Ok(count) => bytes.extend(&room[..count]),
                }
            }
        }
        bytes
    }

    /// Writes; a connection that is gone takes nothing.
    pub fn write(&mut self, bytes: &[u8]) {
        if let Some(current) = &mut self.current {
            let _ = current.write(bytes);
        }
    }

    /// Ends the connection.
    pub fn hang_up(&mut self) {
        self.current = None;
    }
}

/// Waits until what was written has arrived at the descriptor of the other side.
pub fn arrived(fd: RawFd) {
    crate::sys::wait_for_input(fd, SOON);
}

/// The control channel.
fn serve(control: &Listener, replies: &Mutex<VecDeque<Reply>>, farewell: Option<u32>) {
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let mut fds = vec![PollFd::new(control.fd(), PollFlags::POLLIN)];
        fds.extend(connections.iter().map(|connection| PollFd::new(connection.fd(), PollFlags::POLLIN)));
        let _ = poll(&mut fds, PollTimeout::NONE); // interrupted, it is asked again
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        let mut index = 0;
        connections.retain_mut(|connection| {
            index += 1;
            !ready[index] || answer(connection, replies, farewell)
        });
        if ready[0] {
            connections.extend(control.accept());
        }
    }
}

/// Answers one command; `false` when that is the end.
fn answer(connection: &mut Connection, replies: &Mutex<VecDeque<Reply>>, farewell: Option<u32>) -> bool {
    let mut bytes = [0; 64];
    let count = match connection.read(&mut bytes) {
        Ok(0) | Err(_) => return false,
        Ok(count) => count,
    };
    let code = bytes[..count].first_chunk().map(|code| u32::from_be_bytes(*code));
    if farewell.is_some() && code == farewell {
        return false;
    }
    let reply = replies.lock().expect("nobody panics").pop_front().unwrap_or(Reply::Success);
    match reply {
        Reply::Success => connection.write(&[0; 4]).is_ok(),
        Reply::Code(code) => connection.write(&code.to_be_bytes()).is_ok(),
        Reply::Cut(count) => {
            let _ = connection.write(&[0; 4][..usize::from(count % 4)]);
            false
        }
        Reply::More(count) => connection.write(&vec![0; 4 + usize::from(count)]).is_ok(),
        Reply::End => false,
        Reply::Silence => true,
    }
}
