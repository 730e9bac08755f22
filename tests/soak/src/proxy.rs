// SPDX-License-Identifier: BSD-2-Clause
//! A proxy between the contexts on one channel and a real server: [`Proxy`]. It is a process of its own, for a process that
//! the driver forks would have a copy of its sockets, and nobody would see the end of a connection that it closes.

mod line;

use crate::wire::Wire;
use clap::ValueEnum;
use fastrand::Rng;
use line::State;
use socket2::{Domain, SockAddr};
use std::env;
use std::io::{BufRead, BufReader, Write, stdin};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tss2_kit::server::Address;

/// How a message says its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// In its header: swtpm.
    Raw,
    /// Before it, with four bytes behind it: the simulators.
    Enveloped,
    /// It has four bytes: the second channel of both.
    Word,
}

/// A channel that passes through a process of ours.
pub(crate) struct Proxy {
    process: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    /// Where it listens, on a port that the kernel chose.
    port: Option<u16>,
    framing: Framing,
}

/// An address in an argument: a port of the loopback, or a path.
fn argument(at: &Address) -> String {
    match at {
        Address::Port(port) => port.to_string(),
        Address::Path(path) => path.display().to_string(),
    }
}

/// The address in an argument.
pub(crate) fn parse(argument: &str) -> Address {
    argument.parse().map_or_else(|_| Address::Path(argument.into()), Address::Port)
}

fn address(at: &Address) -> (SockAddr, Domain) {
    match at {
        Address::Port(port) => (SocketAddr::from((Ipv4Addr::LOCALHOST, *port)).into(), Domain::IPV4),
        Address::Path(path) => (SockAddr::unix(path).unwrap(), Domain::UNIX),
    }
}

/// What this does on the wire, here and there.
fn draw(framing: Framing, seed: u64) -> Wire {
    let mut rng = Rng::with_seed(seed);
    match framing {
        Framing::Raw | Framing::Enveloped => Wire::draw(framing, &mut rng),
        Framing::Word => Wire::draw_control(&mut rng),
    }
}

/// The process: listens, says where, and does what its standard input says, until that ends.
pub(crate) fn serve(at: &Address, server: &Address, framing: Framing) {
    let state = Arc::new(State::default());
    println!("{}", line::start(at, server, framing, Arc::clone(&state)).unwrap_or_default());
    for request in stdin().lines().map_while(Result::ok) {
        let yes = match request.split_once(' ') {
            Some(("arm", seed)) => {
                state.arm(draw(framing, seed.parse().unwrap()));
                true
            }
            _ if request == "disarm" => state.disarm(),
            _ => state.is_open.load(Ordering::SeqCst),
        };
        println!("{yes}");
    }
}

impl Proxy {
    /// Starts one that listens at `at`, where port 0 is one that is free, and passes on to `server`.
    pub(crate) fn start(at: &Address, server: &Address, framing: Framing) -> Proxy {
        let name = framing.to_possible_value().unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(env::current_exe().unwrap());
        command.args(["proxy", "--at", &argument(at), "--server", &argument(server), "--framing", name.get_name()]);
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

    /// Lets something happen to the next exchange.
    pub(crate) fn arm(&mut self, rng: &mut Rng) -> Wire {
        let seed = rng.u64(..);
        self.ask(&format!("arm {seed}"));
        draw(self.framing, seed)
    }

    /// Lets nothing happen any more. Whether it has happened.
    pub(crate) fn disarm(&mut self) -> bool {
        self.ask("disarm")
    }

    /// Whether a connection passes through.
    pub(crate) fn is_open(&mut self) -> bool {
        self.ask("open")
    }

    /// The port that it listens on.
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
