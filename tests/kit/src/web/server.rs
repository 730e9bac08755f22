// SPDX-License-Identifier: BSD-2-Clause
//! A running server: [`Server`]. Its processes end when the value is dropped.

use super::client::Client;
use super::kind::Kind;
use super::processes::{children, is_alive, is_busy};
use super::site::Site;
use crate::waiting::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Stdio};

/// How many lines of the log a failing test shows. The first ones matter, because later ones follow from them.
const REPORTED: usize = 20;

/// The messages that servers log when a handshake fails.
const FAILURES: [&str; 2] = ["SSL_do_handshake() failed", "SSL library error"];

/// A running server.
pub struct Server {
    kind: Kind,
    site: Site,
    /// The process that was started, while it runs. Only the master of haproxy does; the others fork and exit.
    started: Option<Child>,
    master: Pid,
    /// The workers of a master that was killed.
    orphans: Vec<Pid>,
}

impl Server {
    /// Starts it and waits until all workers run.
    pub fn start(kind: Kind, site: Site) -> Server {
        let configuration = kind.configuration().replace("@directory@", &site.directory().display().to_string());
        fs::write(site.file("configuration"), configuration.replace("@port@", &site.port().to_string())).unwrap();
        let mut command = kind.command(&site);
        // A file and not a pipe, whose write end the processes of the server would keep open.
        let printed = fs::File::create(site.file("printed")).unwrap();
        command.stdin(Stdio::null()).stdout(printed.try_clone().unwrap()).stderr(printed);
        let mut child = command.spawn().unwrap();
        let master = Pid::from_raw(child.id().try_into().unwrap());
        let mut server = Server { kind, site, started: None, master, orphans: Vec::new() };
        if matches!(kind, Kind::Haproxy) {
            server.started = Some(child);
        } else {
            assert!(child.wait().unwrap().success(), "{kind:?} does not start: {}", server.reports());
            // Apache's first process exits before the file is written.
            let pid = || server.site.read("pid").trim().parse().ok().map(Pid::from_raw);
            wait_until("the file with the master's pid", || pid().is_some());
            server.master = pid().unwrap();
        }
        wait_until("all workers", || server.workers().len() == kind.workers());
        wait_until("a server that listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, server.site.port())).is_ok());
        server
    }

    /// Kills the master, as a crash would. Its workers keep running.
    pub fn kill_master(&mut self) {
        self.orphans = self.workers();
        kill(self.master, Signal::SIGKILL).unwrap();
        wait_until("the end of the master", || !is_alive(self.master));
    }

    /// Returns the worker processes.
    pub fn workers(&self) -> Vec<Pid> {
        match self.kind {
            Kind::HaproxyDaemon => vec![self.master],
            _ => children(self.master).into_iter().chain(self.orphans.clone()).filter(|pid| is_alive(*pid)).collect(),
        }
    }

    /// Returns a client for it.
    pub fn client(&self) -> Client {
        Client::of(&self.site)
    }

    /// Returns how many requests each process has served so far, if the server logs that.
    pub fn served(&self) -> BTreeMap<Pid, usize> {
        let mut served = BTreeMap::new();
        for pid in self.site.read("served").lines().filter_map(|line| line.trim().parse().ok()) {
            *served.entry(Pid::from_raw(pid)).or_default() += 1;
        }
        served
    }

    /// Returns how many requests all processes have served.
    pub fn served_in_all(&self) -> usize {
        self.served().values().sum()
    }

    /// Has it read its configuration again and replace its workers.
    pub fn reload(&self) {
        let signal = match self.kind {
            Kind::Nginx(_) => Signal::SIGHUP,
            Kind::Apache(..) => Signal::SIGUSR1,
            Kind::Haproxy | Kind::HaproxyDaemon => Signal::SIGUSR2,
        };
        kill(self.master, signal).unwrap();
    }

    /// Returns the workers that wait for something other than connections: for the TPM's response, or for their turn.
    pub fn busy(&self) -> Vec<Pid> {
        self.workers().into_iter().filter(|worker| is_busy(*worker)).collect()
    }

    /// Returns the processes that could not complete a handshake, by the server's log.
    pub fn failed(&self) -> BTreeSet<Pid> {
        let log = self.site.read("error");
        let lines = log.lines().filter(|line| FAILURES.iter().any(|failure| line.contains(failure)));
        // `[crit] 123#123: *45 SSL_do_handshake() failed` of nginx, `[pid 123:tid 123] ...` of Apache.
        let pid = |line: &str| {
            let (_, rest) = line.split_once("[pid ").or_else(|| line.split_once("] "))?;
            rest.split(['#', ':']).next()?.parse().ok().map(Pid::from_raw)
        };
        lines.map(|line| pid(line).unwrap_or_else(|| panic!("no process in {line}"))).collect()
    }

    /// Returns what it printed, and its log.
    pub fn reports(&self) -> String {
        ["printed", "error"].map(|name| self.site.read(name)).concat()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A running master would replace the workers that are killed. Any of these processes may have exited already.
        let _ = kill(self.master, Signal::SIGSTOP);
        for pid in [self.workers(), vec![self.master]].concat() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        if let Some(mut child) = self.started.take() {
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let reports = self.reports();
            let is_news = |line: &&str| ![" [notice] ", " [info] ", ":info] "].iter().any(|level| line.contains(level));
            let lines: Vec<&str> = reports.lines().filter(is_news).take(REPORTED).collect();
            println!("{:?} reports:\n{}", self.kind, lines.join("\n"));
        }
    }
}
