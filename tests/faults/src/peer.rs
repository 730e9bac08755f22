// SPDX-License-Identifier: BSD-2-Clause
//! The server of one channel, which responds properly except where a fault is armed: [`Peer`].

use crate::armed::Armed;
use crate::fault::{End, Fault, Response, Step};
use crate::framing::Framing;
use crate::stream::{Listener, Stream};
use socket2::SockAddr;
use std::io::{self, Write};
use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// A thread that serves one channel, one connection after the other, until it is dropped.
pub struct Peer {
    shared: Arc<Shared>,
    /// Where it listens.
    address: Option<SockAddr>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    armed: Armed,
    /// The connection that is open.
    stream: Mutex<Option<Stream>>,
    is_over: AtomicBool,
}

/// Makes the response to a command, both as the TPM has them; `None` closes the connection.
pub type Respond = Box<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send>;

impl Peer {
    /// Serves the connections to a listener.
    pub fn listen(listener: Listener, framing: Framing, respond: Respond) -> Peer {
        let address = listener.address();
        Peer::start(iter::from_fn(move || listener.accept().ok()), Some(address), framing, respond)
    }

    /// Serves one connection.
    pub fn serve(stream: Stream, framing: Framing, respond: Respond) -> Peer {
        Peer::start(iter::once(stream), None, framing, respond)
    }

    fn start(
        streams: impl Iterator<Item = Stream> + Send + 'static,
        address: Option<SockAddr>,
        framing: Framing,
        respond: Respond,
    ) -> Peer {
        let shared = Arc::<Shared>::default();
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for mut stream in streams.take_while(|_| !served.is_over.load(Ordering::Relaxed)) {
                *served.stream() = stream.try_clone().ok();
                let end = served.exchange(&mut stream, framing, &respond);
                *served.stream() = None;
                stream.end(end.unwrap_or(End::Close));
            }
        });
        Peer { shared, address, thread: Some(thread) }
    }

    /// The faults of the next exchanges.
    pub fn armed(&self) -> &Armed {
        &self.shared.armed
    }

    /// Sends bytes that no command asked for. Fails when no connection is open.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.shared.stream().as_mut().ok_or(io::ErrorKind::NotConnected)?.write_all(bytes)
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

    /// Serves one connection. Returns how it has to end; an error when the client has ended it.
    fn exchange(&self, stream: &mut Stream, framing: Framing, respond: &Respond) -> io::Result<End> {
        if self.armed.take(|fault| *fault == Fault::Refuse).is_some() {
            return Ok(End::Close);
        }
        loop {
            let command = framing.read_command(stream)?;
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

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread when it waits for the next connection.
        let _ = self.address.as_ref().map(Stream::connect);
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
