// SPDX-License-Identifier: BSD-2-Clause
//! A server that is a TPM, for one test: its state in a temporary directory, its end with the value. [`Swtpm`] is a real
//! swtpm.

use crate::waiting::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use tempfile::TempDir;

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// On a free port of the loopback, and the next one.
    Tcp,
    /// On a Unix socket.
    Unix,
}

/// A program that is a TPM to whoever connects.
pub trait Program: Send {
    /// The module for it.
    const MODULE: &'static str;

    /// Starts it, with its files in `dir`, and waits until both channels take a connection; `None` when it ended instead.
    fn spawn(&self, dir: &TempDir, at: &At) -> Option<Child>;
}

/// One that runs.
pub struct Emulator<P> {
    program: P,
    child: Child,
    dir: TempDir,
    at: At,
}

/// Where both channels of a server are.
#[derive(Clone, Debug)]
pub enum At {
    /// This port of the loopback, and the next one.
    Port(u16),
    /// This Unix socket, and SOCKET.ctrl.
    Path(PathBuf),
}

impl At {
    /// The configuration string of the module.
    pub fn conf(&self) -> String {
        match self {
            At::Port(port) => format!("host=127.0.0.1,port={port}"),
            At::Path(path) => format!("path={}", path.display()),
        }
    }
}

impl<P: Program> Emulator<P> {
    pub(crate) fn run(program: P, socket: Socket) -> Emulator<P> {
        let dir = tempfile::tempdir().unwrap();
        loop {
            let at = match socket {
                Socket::Tcp => At::Port(free_port()),
                Socket::Unix => At::Path(dir.path().join("sock")),
            };
            if let Some(child) = program.spawn(&dir, &at) {
                return Emulator { program, child, dir, at };
            }
            assert!(socket == Socket::Tcp, "{} does not start", P::MODULE); // on TCP another program took the port
        }
    }

    /// Where it listens.
    pub fn at(&self) -> &At {
        &self.at
    }

    /// The configuration string of the module.
    pub fn conf(&self) -> String {
        self.at.conf()
    }

    /// Stops it without ending it: connections are made and commands taken by the kernel, but none is answered.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        // It comes later than kill(2) returns; now all its threads have come to a stop.
        let stopped = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED));
        assert!(matches!(stopped, Ok(WaitStatus::Stopped(..))), "{stopped:?}");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after `kill`, at the same place.
    pub fn restart(&mut self) {
        if let At::Path(path) = &self.at {
            for file in [path.clone(), path.with_extension("ctrl")] {
                let _ = std::fs::remove_file(file); // it may have removed it itself, or not have made it yet
            }
        }
        let child = self.program.spawn(&self.dir, &self.at);
        self.child = child.unwrap_or_else(|| panic!("{} does not start again", P::MODULE));
    }
}

impl<P> Drop for Emulator<P> {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

/// swtpm on sockets, with a new TPM in it, powered on and started.
pub struct SwtpmSocket;

/// A running swtpm.
pub type Swtpm = Emulator<SwtpmSocket>;

impl Swtpm {
    /// Starts one.
    pub fn start(socket: Socket) -> Swtpm {
        Emulator::run(SwtpmSocket, socket)
    }

    /// A new connection to its data channel; only on a Unix socket.
    pub fn connect(&self) -> UnixStream {
        match &self.at {
            At::Port(_) => panic!("this swtpm listens on TCP"),
            At::Path(path) => UnixStream::connect(path).unwrap(),
        }
    }
}

impl Program for SwtpmSocket {
    const MODULE: &'static str = "swtpm";

    fn spawn(&self, dir: &TempDir, at: &At) -> Option<Child> {
        // A test that is killed leaves no swtpm behind.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        command.args(["--locality", "allow-set-locality", "--tpmstate", &format!("dir={}", dir.path().display())]);
        match at {
            At::Port(port) => {
                command.args(["--server", &format!("type=tcp,bindaddr=127.0.0.1,port={port}")]);
                command.args(["--ctrl", &format!("type=tcp,bindaddr=127.0.0.1,port={}", port + 1)]);
            }
            At::Path(path) => {
                command.args(["--server", &format!("type=unixio,path={}", path.display())]);
                command.args(["--ctrl", &format!("type=unixio,path={}.ctrl", path.display())]);
            }
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        await_listening(&mut child, at).then_some(child)
    }
}

/// Waits until both channels take a connection; `false` when swtpm ended instead.
fn await_listening(child: &mut Child, at: &At) -> bool {
    let mut has_ended = false;
    wait_until("a swtpm that listens", || {
        has_ended = child.try_wait().unwrap().is_some();
        has_ended || listens(at)
    });
    !has_ended && child.try_wait().unwrap().is_none()
}

fn listens(at: &At) -> bool {
    match at {
        At::Port(port) => {
            let connects = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            connects(port + 1) && connects(*port)
        }
        At::Path(path) => {
            UnixStream::connect(format!("{}.ctrl", path.display())).is_ok() && UnixStream::connect(path).is_ok()
        }
    }
}

/// A port that is free, as the next one is. Below those that the kernel gives to outgoing connections, which would
/// take it before swtpm does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    loop {
        let step = u32::from(NEXT.fetch_add(2, Ordering::Relaxed));
        let port = u16::try_from(FIRST + (std::process::id() * 128 + step) % COUNT).unwrap() & !1;
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free(port) && free(port + 1) {
            return port;
        }
    }
}

/// A TPM for one test, whichever transport reaches it.
pub trait Tpm: Send {
    /// The `name:conf` that opens it through the loader.
    fn name_conf(&self) -> String;
}

impl<P: Program> Tpm for Emulator<P> {
    fn name_conf(&self) -> String {
        format!("{}:{}", P::MODULE, self.conf())
    }
}

/// A TPM with something before and behind its `name:conf`.
pub struct Around<T>(pub &'static str, pub T, pub &'static str);

impl<T: Tpm> Tpm for Around<T> {
    fn name_conf(&self) -> String {
        format!("{}{}{}", self.0, self.1.name_conf(), self.2)
    }
}

/// The state file of a libtpms in a directory of its own.
pub struct StateFile(TempDir);

impl StateFile {
    /// A new TPM; the module makes the file.
    pub fn new() -> StateFile {
        StateFile(tempfile::tempdir().unwrap())
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("tpm")
    }
}

impl Default for StateFile {
    fn default() -> StateFile {
        StateFile::new()
    }
}

impl Tpm for StateFile {
    fn name_conf(&self) -> String {
        format!("libtpms:{}", self.path().display())
    }
}
