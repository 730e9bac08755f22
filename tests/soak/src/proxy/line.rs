// SPDX-License-Identifier: BSD-2-Clause
//! The connections that pass through a proxy. They are served one after the other, as the servers do. An armed fault
//! strikes one exchange.

use nix::poll::PollTimeout;
use socket2::{SockAddr, SockRef};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tss2_faults::{Armed, Fault, Framing, Listener, Response, Stream, readable};

/// The state that the proxy's threads share.
#[derive(Default)]
pub(super) struct State {
    pub(super) armed: Armed,
    /// Whether a connection passes through.
    pub(super) is_open: AtomicBool,
}

/// Forwards every connection to `listener` from now on.
pub(super) fn start(listener: Listener, server: SockAddr, framing: Framing, state: Arc<State>) {
    thread::spawn(move || {
        loop {
            let client = listener.accept().unwrap();
            state.is_open.store(true, Ordering::SeqCst);
            // A connection that fails ends; the next one is independent of it.
            let _ = forward(client, &server, framing, &state.armed);
            state.is_open.store(false, Ordering::SeqCst);
        }
    });
}

fn forward(mut client: Stream, server: &SockAddr, framing: Framing, armed: &Armed) -> io::Result<()> {
    if armed.take(|fault| *fault == Fault::Refuse).is_some() {
        return Ok(());
    }
    let mut server = Stream::connect(server)?;
    // A connection per command would use up all TCP ports.
    SockRef::from(&server).set_linger(Some(Duration::ZERO))?;
    let mut buffer = [0; 8192];
    // A fault strikes a whole response, not the rest of one.
    let mut is_response_due = true;
    loop {
        let [from_client, from_server] = readable([client.as_fd(), server.as_fd()], PollTimeout::NONE)?;
        if from_client {
            let count = client.read(&mut buffer)?;
            if count == 0 || armed.take(|fault| *fault == Fault::DropCommand).is_some() {
                return Ok(());
            }
            server.write_all(&buffer[..count])?;
            is_response_due = true;
            let _ = SockRef::from(&server).set_tcp_quickack(true); // a simulator writes in pieces; for TCP alone
        }
        if from_server {
            let count = server.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let fault = armed.take(|fault| is_response_due && matches!(fault, Fault::Respond(_)));
            let Some((Fault::Respond(steps), _)) = fault else {
                client.write_all(&buffer[..count])?;
                is_response_due = false;
                continue;
            };
            let mut packed = buffer[..count].to_vec();
            while !framing.is_whole(&packed) {
                let count = server.read(&mut buffer)?;
                packed.extend_from_slice(&buffer[..count]);
                if count == 0 {
                    return client.write_all(&packed);
                }
            }
            if let Some(end) = Response::new(framing, packed).play(&steps, &mut client)? {
                client.end(end);
                return Ok(());
            }
        }
    }
}
