// SPDX-License-Identifier: BSD-2-Clause
//! The server of one channel, which responds properly except where a fault is armed: [`Peer`].

use crate::armed::Armed;
use crate::fault::{End, Fault, Response, Step};
use crate::framing::Framing;
use crate::stream::{Listener, Stream, readable};
use nix::poll::PollTimeout;
use std::io::{self, BufReader, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// A thread that serves one channel, one connection after the other, until it is dropped.
pub struct Peer {
    shared: Arc<Shared>,
    /// Closing it ends the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    armed: Armed,
    /// The connection that is open.
    stream: Mutex<Option<Stream>>,
}

/// Makes the response to a command, both as the TPM has them; `None` closes the connection.
pub type Respond = Box<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send>;

impl Peer {
    /// Serves the connections to a listener.
    pub fn listen(listener: Listener, framing: Framing, respond: Respond) -> Peer {
        Peer::start(move |stopped| wait(&listener, stopped).and_then(|()| listener.accept()), framing, respond)
    }

    /// Serves one connection.
    pub fn serve(stream: Stream, framing: Framing, respond: Respond) -> Peer {
        let mut stream = Some(stream);
        Peer::start(move |_| stream.take().ok_or(ErrorKind::NotConnected.into()), framing, respond)
    }

    fn start(
        mut accept: impl FnMut(&UnixStream) -> io::Result<Stream> + Send + 'static,
        framing: Framing,
        respond: Respond,
    ) -> Peer {
        let shared = Arc::<Shared>::default();
        let served = Arc::clone(&shared);
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = thread::spawn(move || {
            while let Ok(mut stream) = accept(&stopped) {
                *served.stream() = stream.try_clone().ok();
                let end = served.exchange(&mut stream, &stopped, framing, &respond);
                *served.stream() = None;
                stream.end(end.unwrap_or(End::Close));
            }
        });
        Peer { shared, stop: Some(stop), thread: Some(thread) }
    }

    /// The faults of the next exchanges.
    pub fn armed(&self) -> &Armed {
        &self.shared.armed
    }

    /// Sends bytes that no command asked for. Fails when no connection is open.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.shared.stream().as_mut().ok_or(ErrorKind::NotConnected)?.write_all(bytes)
    }

    /// Whether a connection is open.
    pub fn is_connected(&self) -> bool {
        self.shared.stream().is_some()
    }
}

impl Shared {
    fn stream(&self) -> MutexGuard<'_, Option<Stream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one connection. Returns how it has to end; an error when the client has ended it, or the peer
    /// is dropped.
    fn exchange(
        &self,
        stream: &mut Stream,
        stopped: &UnixStream,
        framing: Framing,
        respond: &Respond,
    ) -> io::Result<End> {
        if self.armed.take(|fault| *fault == Fault::Refuse).is_some() {
            return Ok(End::Close);
        }
        // A command is taken in one read, as a driver takes it: each read of a terminal wakes whoever polls its device.
        let mut commands = BufReader::new(stream.try_clone()?);
        loop {
            if commands.buffer().is_empty() {
                wait(stream, stopped)?;
            }
            let command = framing.read_message(&mut commands)?;
            if self.armed.take(|fault| *fault == Fault::DropCommand).is_some() {
                return Ok(End::Close);
            }
            let Some(response) = respond(&command) else { return Ok(End::Close) };
            let mut response = Response::new(framing, framing.pack(&response));
            let (steps, unsent) = match self.armed.take(|fault| matches!(fault, Fault::Respond(_))) {
                Some((Fault::Respond(steps), unsent)) => (steps, Some(unsent)),
                _ => (vec![Step::Rest], None),
            };
            let end = response.play(&steps, stream)?;
            // Nobody waits for the bytes held back by most faults.
            let _ = unsent.map(|unsent| unsent.send(response.unsent().to_vec()));
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }
}

/// Waits until there is input. Fails when the peer is dropped.
fn wait(input: &impl AsFd, stopped: &UnixStream) -> io::Result<()> {
    let [_, is_over] = readable([input.as_fd(), stopped.as_fd()], PollTimeout::NONE)?;
    if is_over { Err(ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.thread.take().map(JoinHandle::join); // a thread that panicked has failed the test
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const COMMAND: [u8; 10] = [0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x81];

    #[test]
    fn a_peer_responds_in_its_framing_until_a_fault_ends_the_connection() {
        for framing in [Framing::Raw, Framing::Enveloped] {
            let listener = Listener::tcp();
            let mut stream = Stream::connect(&listener.address()).unwrap();
            // It responds with the command.
            let peer = Peer::listen(listener, framing, Box::new(|command| Some(command.to_vec())));
            let unsent = peer.armed().arm(Fault::Respond(vec![Step::Next(4)]));
            peer.armed().arm(Fault::append([7]));
            peer.armed().arm(Fault::DropCommand);
            let (command, response) = (framing.pack_command(&COMMAND), framing.pack(&COMMAND));
            stream.write_all(&command).unwrap();
            peer.send(&unsent.recv().unwrap()).unwrap(); // late
            stream.write_all(&command.repeat(2)).unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, [&response[..], &response, &[7]].concat());
            assert!(peer.armed().disarm() && !peer.armed().disarm());
        }
    }
}
