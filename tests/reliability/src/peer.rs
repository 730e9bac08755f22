// SPDX-License-Identifier: BSD-2-Clause
//! A peer that answers as a TPM does, but for one command, where it sends what a test wants.

use super::module::Module;
use super::server::Server;
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use tempfile::TempDir;

/// Makes what is sent out of the bytes of an answer, in pieces.
pub(super) type Change = Arc<dyn Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync>;

/// What is sent instead of an answer.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) pieces: Change,
    pub(super) then: Then,
}

/// What comes after it.
#[derive(Clone)]
pub(super) enum Then {
    /// The next command may come.
    Serves,
    /// The connection ends.
    Closes,
    /// The last piece is not sent: it comes out here, when the others were.
    Withholds(Sender<Vec<u8>>),
}

/// The protocol on the data channel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Raw,
    /// As the simulators of Microsoft and IBM have it.
    Envelope,
}

impl Wire {
    pub(super) fn of(module: Module) -> Wire {
        if module == Module::Mssim { Wire::Envelope } else { Wire::Raw }
    }

    /// Bytes before the response of the TPM.
    pub(super) fn before(self) -> usize {
        if self == Wire::Envelope { 4 } else { 0 }
    }

    /// The answer to a GetRandom of so many bytes, as it is sent.
    pub(super) fn answer(self, count: u8) -> Vec<u8> {
        self.pack(&answer(count, 12 + usize::from(count)))
    }

    /// A response as it is sent.
    pub(super) fn pack(self, response: &[u8]) -> Vec<u8> {
        match self {
            Wire::Raw => response.to_vec(),
            Wire::Envelope => {
                let size = u32::try_from(response.len()).unwrap();
                [&size.to_be_bytes(), response, &[0; 4]].concat()
            }
        }
    }

    /// The next command, which is one of the TPM; `None` at the end.
    fn command(self, line: &mut File) -> Option<Vec<u8>> {
        if self == Wire::Envelope && take::<9>(line)?[..4] != 8u32.to_be_bytes() {
            return None; // not that of a command
        }
        let header = take::<10>(line)?;
        let size = u32::from_be_bytes(header[2..6].try_into().unwrap());
        let mut command = vec![0; usize::try_from(size).unwrap()];
        command[..10].copy_from_slice(&header);
        line.read_exact(&mut command[10..]).ok()?;
        Some(command)
    }
}

fn take<const N: usize>(line: &mut File) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    line.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// To a GetRandom of so many bytes, with `size` bytes in all.
pub(super) fn answer(count: u8, size: usize) -> Vec<u8> {
    let said = u32::try_from(size).unwrap().to_be_bytes();
    let header = [&[0x80, 0x01], &said[..], &[0, 0, 0, 0, 0, count]].concat();
    let random = (header.len()..size).map(|offset| random(count, offset));
    header.iter().copied().chain(random).collect()
}

/// As `c-tests/fault.c` wants it at this offset: the same byte does not come again after one, a page, a buffer.
fn random(count: u8, offset: usize) -> u8 {
    let place = u32::from(count) << 20 | u32::try_from(offset).unwrap();
    place.wrapping_mul(2_654_435_761).to_be_bytes()[0]
}

/// What the threads share.
struct Shared {
    wire: Wire,
    script: Mutex<Option<Script>>,
    /// So many bytes the control channel still sends before it ends; without an end as long as there is no number.
    replies: Mutex<Option<usize>>,
    /// The connection that is open.
    line: Mutex<Option<File>>,
    ends: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn talk(&self, mut line: File) {
        *locked(&self.line) = Some(line.try_clone().unwrap());
        while let Some(command) = self.wire.command(&mut line) {
            let packed = self.wire.answer(*command.last().unwrap()); // so many are wanted
            let script = locked(&self.script).take();
            let (mut pieces, then) = match script {
                Some(script) => ((script.pieces)(&packed), script.then),
                None => (vec![packed], Then::Serves),
            };
            let withheld = if let Then::Withholds(_) = then { pieces.pop() } else { None };
            if pieces.iter().any(|piece| line.write_all(piece).is_err()) {
                break;
            }
            match then {
                Then::Serves => {}
                Then::Closes => break,
                Then::Withholds(sender) => sender.send(withheld.unwrap_or_default()).unwrap(),
            }
        }
        *locked(&self.line) = None;
    }

    /// A code and what belongs to it comes in one piece, and is answered by zero.
    fn control(&self, mut line: File) {
        while let Ok(1..) = line.read(&mut [0; 64]) {
            let mut left = locked(&self.replies);
            let sent = left.unwrap_or(REPLY).min(REPLY);
            *left = left.map(|left| left - sent);
            drop(left);
            if line.write_all(&[0; REPLY][..sent]).is_err() || sent < REPLY {
                break;
            }
        }
    }
}

/// Bytes of a reply on the control channel.
const REPLY: usize = 4;

/// Connections as they are made.
type Connections = Box<dyn Iterator<Item = File> + Send>;

fn on_unix(path: &Path) -> Connections {
    let listener = UnixListener::bind(path).unwrap();
    Box::new(std::iter::from_fn(move || Some(File::from(OwnedFd::from(listener.accept().unwrap().0)))))
}

/// And the port.
fn on_tcp() -> (Connections, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = std::iter::from_fn(move || {
        let stream = listener.accept().unwrap().0;
        stream.set_nodelay(true).unwrap();
        Some(File::from(OwnedFd::from(stream)))
    });
    (Box::new(connections), port)
}

/// The peer of one module.
pub(super) struct Peer {
    module: Module,
    dir: TempDir,
    /// Of the data and the control channel; without them the channels are Unix sockets.
    ports: Vec<u16>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Keeps a terminal open while the module has it not.
    terminal: Option<OwnedFd>,
}

impl Peer {
    pub(super) fn start(module: Module) -> Peer {
        let shared = Shared {
            wire: Wire::of(module),
            script: Mutex::default(),
            replies: Mutex::default(),
            line: Mutex::default(),
            ends: false.into(),
        };
        let mut peer = Peer {
            module,
            dir: tempfile::tempdir().unwrap(),
            ports: Vec::new(),
            shared: Arc::new(shared),
            threads: Vec::new(),
            terminal: None,
        };
        if module == Module::Terminal {
            peer.open_terminal();
        } else {
            peer.listen();
        }
        peer
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn listen(&mut self) {
        let [data, control] = [self.path(), self.path().with_extension("ctrl")].map(|path| match self.module {
            Module::Swtpm => {
                let (connections, port) = on_tcp();
                self.ports.push(port);
                connections
            }
            _ => on_unix(&path),
        });
        let shared = Arc::clone(&self.shared);
        self.threads.push(thread::spawn(move || {
            for stream in data.take_while(|_| !shared.ends.load(Ordering::Relaxed)) {
                shared.talk(stream);
            }
        }));
        let shared = Arc::clone(&self.shared);
        self.threads.push(thread::spawn(move || {
            for stream in control.take_while(|_| !shared.ends.load(Ordering::Relaxed)) {
                shared.control(stream);
            }
        }));
    }

    fn open_terminal(&mut self) {
        // Not by openpty(3), whose descriptors other programs of the tests would inherit.
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname_r(&master).unwrap();
        let slave = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&name).unwrap();
        let mut attributes = tcgetattr(&slave).unwrap();
        cfmakeraw(&mut attributes);
        tcsetattr(&slave, SetArg::TCSANOW, &attributes).unwrap();
        let _ = fs::remove_file(self.path()); // there is none at first
        symlink(name, self.path()).unwrap();
        self.terminal = Some(slave.into());
        let shared = Arc::clone(&self.shared);
        self.threads.push(thread::spawn(move || shared.talk(File::from(OwnedFd::from(master)))));
    }

    /// What the next command gets.
    pub(super) fn script(&self, script: Script) {
        *locked(&self.shared.script) = Some(script);
    }

    /// The control channel ends after so many bytes of replies, or never.
    pub(super) fn control_ends_after(&self, replies: Option<usize>) {
        *locked(&self.shared.replies) = replies;
    }

    /// Sends bytes on the connection that is open.
    pub(super) fn say(&self, bytes: &[u8]) {
        locked(&self.shared.line).as_mut().expect("a connection").write_all(bytes).unwrap();
    }
}

impl Server for Peer {
    fn conf(&self) -> String {
        let path = self.path().display().to_string();
        match self.module {
            Module::Cmd => format!("exec {} relay {path}", std::env::current_exe().unwrap().display()),
            Module::Terminal => path,
            Module::Swtpm => format!("host=127.0.0.1,port={},ctrl_port={}", self.ports[0], self.ports[1]),
            Module::SwtpmKept => format!("path={path},keep=true"),
            Module::Pcap | Module::Loader => format!("swtpm:path={path}"),
            _ => format!("path={path}"),
        }
    }

    /// A terminal that was closed is another one then.
    fn restore(&mut self) {
        if self.module == Module::Terminal && locked(&self.shared.line).is_none() {
            self.open_terminal();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.terminal = None;
        // Wakes who waits for the next one.
        for port in &self.ports {
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, *port));
        }
        for path in [self.path(), self.path().with_extension("ctrl")] {
            let _ = UnixStream::connect(path); // there is none on TCP
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // one that failed has shown in the test
        }
    }
}
