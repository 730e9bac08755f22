// SPDX-License-Identifier: BSD-2-Clause
//! TPMs that a test opens: [`TestTpm`]. A server among them ([`Emulator`]) keeps its state in a temporary directory
//! and ends when its value is dropped; [`Swtpm`] is a real swtpm.

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

/// Which kind of socket a server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// A free TCP port of the loopback interface, and the next one.
    Tcp,
    /// A Unix socket.
    Unix,
}

/// A program that serves a TPM on two channels.
pub trait EmulatorProgram: Send {
    /// The module that connects to it.
    const MODULE: &'static str;

    /// Starts it with its files in `dir`, and waits until both channels accept connections. Returns `None` when it
    /// exits instead.
    fn spawn(&self, dir: &TempDir, at: &Address) -> Option<Child>;
}

/// A running server.
pub struct Emulator<P> {
    program: P,
    child: Child,
    dir: TempDir,
    at: Address,
}

/// The address of both channels of a server.
#[derive(Clone, Debug)]
pub enum Address {
    /// This port of the loopback interface, and the next one.
    Port(u16),
    /// This Unix socket, and the one with `.ctrl` appended to its path.
    Path(PathBuf),
}

impl Address {
    /// The configuration string of the module.
    pub fn conf(&self) -> String {
        match self {
            Address::Port(port) => format!("host=127.0.0.1,port={port}"),
            Address::Path(path) => format!("path={}", path.display()),
        }
    }
}

impl<P: EmulatorProgram> Emulator<P> {
    pub(crate) fn run(program: P, socket: SocketKind) -> Emulator<P> {
        let dir = tempfile::tempdir().unwrap();
        loop {
            let at = match socket {
                SocketKind::Tcp => Address::Port(free_port()),
                SocketKind::Unix => Address::Path(dir.path().join("sock")),
            };
            if let Some(child) = program.spawn(&dir, &at) {
                return Emulator { program, child, dir, at };
            }
            // On TCP another program took the port in the meantime.
            assert!(socket == SocketKind::Tcp, "{} does not start", P::MODULE);
        }
    }

    /// Returns where it listens.
    pub fn at(&self) -> &Address {
        &self.at
    }

    /// The configuration string of the module.
    pub fn conf(&self) -> String {
        self.at.conf()
    }

    /// Suspends it: the kernel still accepts connections and takes commands, but no response comes.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        // kill(2) returns before the signal takes effect; after this call all threads are stopped.
        let stopped = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED));
        assert!(matches!(stopped, Ok(WaitStatus::Stopped(..))), "{stopped:?}");
    }

    /// Resumes it after [`Emulator::pause`].
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after [`Emulator::kill`], at the same address.
    pub fn restart(&mut self) {
        if let Address::Path(path) = &self.at {
            for file in [path.clone(), path.with_extension("ctrl")] {
                let _ = std::fs::remove_file(file); // it may not exist
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

/// swtpm on sockets, with a new TPM that is powered on and started up.
pub struct SwtpmProgram;

/// A running swtpm.
pub type Swtpm = Emulator<SwtpmProgram>;

impl Swtpm {
    /// Starts one.
    pub fn start(socket: SocketKind) -> Swtpm {
        Emulator::run(SwtpmProgram, socket)
    }

    /// Connects to its data channel, which has to be a Unix socket.
    pub fn connect(&self) -> UnixStream {
        match &self.at {
            Address::Port(_) => panic!("this swtpm listens on TCP"),
            Address::Path(path) => UnixStream::connect(path).unwrap(),
        }
    }
}

impl EmulatorProgram for SwtpmProgram {
    const MODULE: &'static str = "swtpm";

    fn spawn(&self, dir: &TempDir, at: &Address) -> Option<Child> {
        // swtpm ends with the test, also when the test is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        command.args(["--locality", "allow-set-locality", "--tpmstate", &format!("dir={}", dir.path().display())]);
        match at {
            Address::Port(port) => {
                command.args(["--server", &format!("type=tcp,bindaddr=127.0.0.1,port={port}")]);
                command.args(["--ctrl", &format!("type=tcp,bindaddr=127.0.0.1,port={}", port + 1)]);
            }
            Address::Path(path) => {
                command.args(["--server", &format!("type=unixio,path={}", path.display())]);
                command.args(["--ctrl", &format!("type=unixio,path={}.ctrl", path.display())]);
            }
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        await_listening(&mut child, at).then_some(child)
    }
}

/// Waits until both channels accept connections. Returns `false` when swtpm exits instead.
fn await_listening(child: &mut Child, at: &Address) -> bool {
    let mut has_exited = false;
    wait_until("a swtpm that listens", || {
        has_exited = child.try_wait().unwrap().is_some();
        has_exited || listens(at)
    });
    !has_exited && child.try_wait().unwrap().is_none()
}

fn listens(at: &Address) -> bool {
    match at {
        Address::Port(port) => {
            let connects = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            connects(port + 1) && connects(*port)
        }
        Address::Path(path) => {
            UnixStream::connect(format!("{}.ctrl", path.display())).is_ok() && UnixStream::connect(path).is_ok()
        }
    }
}

/// Returns a port that is free and whose next one is free, too. It is below the range from which the kernel takes
/// ports for outgoing connections, which could occupy it before swtpm does.
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

/// A TPM for one test, on any transport.
pub trait TestTpm: Send {
    /// Returns the `name:conf` that opens it through the loader.
    fn name_conf(&self) -> String;
}

impl<P: EmulatorProgram> TestTpm for Emulator<P> {
    fn name_conf(&self) -> String {
        format!("{}:{}", P::MODULE, self.conf())
    }
}

/// A TPM whose `name:conf` gets a prefix and a suffix.
pub struct Wrapped<T>(pub &'static str, pub T, pub &'static str);

impl<T: TestTpm> TestTpm for Wrapped<T> {
    fn name_conf(&self) -> String {
        format!("{}{}{}", self.0, self.1.name_conf(), self.2)
    }
}

/// A libtpms with a state file in a directory of its own.
pub struct StateFile(TempDir);

impl StateFile {
    /// Returns a new TPM. The module creates the file.
    pub fn new() -> StateFile {
        StateFile(tempfile::tempdir().unwrap())
    }

    /// Returns the path of the file.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("tpm")
    }
}

impl Default for StateFile {
    fn default() -> StateFile {
        StateFile::new()
    }
}

impl TestTpm for StateFile {
    fn name_conf(&self) -> String {
        format!("libtpms:{}", self.path().display())
    }
}
