// SPDX-License-Identifier: BSD-2-Clause
//! A server with a data channel, which the target serves between two calls of the transport, and a control channel,
//! which a thread serves, because a call waits for its replies.

use nix::poll::PollTimeout;
use std::io::{Read, Write};
use std::os::fd::{AsFd, RawFd};
use tss2_faults::{End, Fault, Framing, Listener, Peer, Response, Step, Stream, readable};

/// Returns a reply to a control command, before anything was sent of it.
fn success() -> Response {
    Response::new(Framing::Word, vec![0; 4])
}

/// The steps that follow a control command.
#[derive(Clone, Debug)]
pub struct Reply(Vec<Step>);

impl Reply {
    /// Adapts steps to a reply of four bytes, and to a fuzzer that has no time for pauses.
    pub fn new(steps: &[Step]) -> Reply {
        let adapt = |step: &Step| match step {
            Step::Pause(_) => None,
            Step::Next(count) => Some(Step::Next(count % 5)),
            Step::End(_) => Some(Step::End(End::Close)),
            step => Some(step.clone()),
        };
        Reply(steps.iter().filter_map(adapt).take(8).collect())
    }

    /// Whether the client waits for the rest of it until its time-out.
    pub fn is_silent(&self) -> bool {
        let (bytes, end) = success().bytes(&self.0);
        bytes.len() < 4 && end.is_none()
    }

    /// Whether it is a success and nothing else.
    pub fn is_success(&self) -> bool {
        success().bytes(&self.0) == (vec![0; 4], None)
    }
}

/// A server at an address of its own, for the life of the process.
pub struct Server {
    data: Listener,
    current: Option<Stream>,
    control: Peer,
    address: String,
}

/// The time that bytes may take within this machine, in milliseconds.
const SOON: u16 = 5000;

impl Server {
    /// Listens on TCP, or on Unix sockets. The control command with the code `farewell` has no reply.
    pub fn new(tcp: bool, farewell: Option<u32>) -> Server {
        let (data, control, address) = if tcp {
            let (data, control) = (Listener::tcp(), Listener::tcp());
            let ports = [&data, &control].map(|listener| listener.port().expect("a TCP port"));
            let address = format!("host=127.0.0.1,port={},ctrl_port={}", ports[0], ports[1]);
            (data, control, address)
        } else {
            let path = tempfile::tempdir().expect("a directory").keep().join("s");
            let listen = |extension| Listener::unix(&path.with_extension(extension));
            (listen(""), listen("ctrl"), format!("path={}", path.display()))
        };
        let respond = move |command: &[u8]| {
            let code = command.first_chunk().map(|code| u32::from_be_bytes(*code));
            (farewell.is_none() || code != farewell).then(|| vec![0; 4])
        };
        let control = Peer::listen(control, Framing::Word, Box::new(respond));
        Server { data, current: None, control, address }
    }

    /// Returns the part of a configuration string that names it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Drops all connections, and sets the next replies.
    pub fn reset(&mut self, replies: &[Reply]) {
        self.current = None;
        while readable([self.data.as_fd()], PollTimeout::ZERO).is_ok_and(|[is_ready]| is_ready) {
            drop(self.data.accept());
        }
        self.set_replies(replies);
    }

    /// Sets the replies to the next control commands. Later commands succeed.
    pub fn set_replies(&mut self, replies: &[Reply]) {
        self.control.armed().disarm();
        for Reply(steps) in replies {
            self.control.armed().arm(Fault::Respond(steps.clone()));
        }
    }

    /// Reads this many bytes from the connection that was made last.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let data = self.data.as_fd();
            let current = self.current.as_ref().map_or(data, Stream::as_fd);
            let [is_new, is_ready] = readable([data, current], PollTimeout::from(SOON)).expect("poll");
            assert!(is_new || is_ready, "nothing was sent");
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

    /// Writes to the connection, if there is one that takes it.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.current.as_mut().map(|current| current.write_all(bytes));
    }

    /// Ends the connection. There is no time for a half close: it is a close.
    pub fn hang_up(&mut self, end: End) {
        let end = if end == End::HalfClose { End::Close } else { end };
        let _ = self.current.take().map(|current| current.end(end));
    }
}

/// Waits until input has arrived at a descriptor of the client.
pub fn wait_for_arrival(fd: RawFd) {
    crate::sys::wait_for_input(fd, SOON);
}
