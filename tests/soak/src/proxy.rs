// SPDX-License-Identifier: BSD-2-Clause
//! A proxy between the contexts on one channel and a real server: [`Proxy`]. It is a process of its own: a process that
//! the driver forks would inherit the proxy's sockets, and a connection that the proxy closes would stay open in it.

mod line;

use crate::wire::{self, Drawn};
use fastrand::Rng;
use line::State;
use socket2::SockAddr;
use std::env;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tss2_faults::{Framing, Listener, loopback};

/// Parses the argument of `--framing`.
pub(crate) fn framing(argument: &str) -> Result<Framing, String> {
    let all = [Framing::Raw, Framing::Enveloped, Framing::Word];
    all.into_iter().find(|framing| format!("{framing:?}") == argument).ok_or_else(|| format!("one of {all:?}"))
}

/// A proxy process for one channel.
pub(crate) struct Proxy {
    process: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    /// The TCP port that it listens on, which the kernel chose.
    port: Option<u16>,
    framing: Framing,
}

/// Parses an address: a port of the loopback interface, or a path.
fn address(argument: &str) -> SockAddr {
    argument.parse().map_or_else(|_| SockAddr::unix(argument).unwrap(), loopback)
}

/// Draws the same fault in the proxy and in the process that controls it.
fn draw(framing: Framing, seed: u64) -> Drawn {
    wire::draw(framing, &mut Rng::with_seed(seed))
}

/// Runs the proxy process: listens, prints the port, and obeys the requests on standard input until that ends.
pub(crate) fn serve(at: &str, server: &str, framing: Framing) {
    let state = Arc::new(State::default());
    let listener = Listener::bind(&address(at)).unwrap();
    println!("{}", listener.port().unwrap_or_default());
    line::start(listener, address(server), framing, Arc::clone(&state));
    for request in stdin().lines().map_while(Result::ok) {
        let yes = match request.split_once(' ') {
            Some(("arm", seed)) => {
                state.armed.arm(draw(framing, seed.parse().unwrap()).fault);
                true
            }
            _ if request == "disarm" => state.armed.disarm(),
            _ => state.is_open.load(Ordering::SeqCst),
        };
        println!("{yes}");
    }
}

impl Proxy {
    /// Starts a proxy that listens at `at`, where port 0 stands for any free port, and forwards to `server`.
    pub(crate) fn start(at: &str, server: &str, framing: Framing) -> Proxy {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(env::current_exe().unwrap());
        command.args(["proxy", "--at", at, "--server", server, "--framing", &format!("{framing:?}")]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (requests, replies) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut proxy = Proxy { process, requests, replies: BufReader::new(replies), port: None, framing };
        proxy.port = proxy.reply().parse().ok().filter(|port| *port != 0);
        proxy
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, request: &str) -> bool {
        writeln!(self.requests, "{request}").unwrap();
        self.reply().parse().unwrap()
    }

    /// Draws a fault and arms it for the next exchange.
    pub(crate) fn arm(&mut self, rng: &mut Rng) -> Drawn {
        let seed = rng.u64(..);
        self.ask(&format!("arm {seed}"));
        draw(self.framing, seed)
    }

    /// Disarms the fault. Returns whether it has struck.
    pub(crate) fn disarm(&mut self) -> bool {
        self.ask("disarm")
    }

    /// Whether a connection passes through.
    pub(crate) fn is_open(&mut self) -> bool {
        self.ask("open")
    }

    /// Returns the TCP port that it listens on; `None` for a Unix socket.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended already
        let _ = self.process.wait();
    }
}
