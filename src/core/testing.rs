// SPDX-License-Identifier: BSD-2-Clause
//! Helpers for unit tests: messages, a transport that follows a script ([`Scripted`]), and scripted peers ([`play`]).
#![expect(clippy::unwrap_used, reason = "only tests call this")]

use crate::deadline::Wait;
use crate::rx::RxBuf;
use crate::session::{Received, Session};
use crate::sys::is_ready_within;
pub use crate::sys::{Forked, is_ready};
use crate::tcti::Tcti;
use crate::transport::{
    Cancel, GetPollHandles, Inheritance, Module, Open, PollHandle, Progress, SetLocality, Transport,
};
use crate::{Result, ReturnCode};
use nix::sys::socket::{Shutdown, shutdown};
use std::collections::VecDeque;
use std::env;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::OnceLock;

#[cfg(any(test, feature = "property"))]
pub mod exchange;
mod stranger;

pub use stranger::{Stranger, assert_closed_descriptors_are_left_alone};

/// TPM2_GetRandom of 8 bytes.
pub const GET_RANDOM: &[u8] = &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8];
/// A response to [`GET_RANDOM`].
pub const OK: &[u8] = &[0x80, 0x01, 0, 0, 0, 20, 0, 0, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];

/// The environment variable in which `cargo xtask arch` passes the emulator of this system: a program and its arguments.
const EMULATOR: &str = "TSS2_EMULATOR";

/// Returns a command that runs the current program again. Under emulation it starts the emulator, because the kernel cannot
/// run programs for other architectures.
pub fn this_program() -> Command {
    let program = env::current_exe().unwrap();
    let emulator = env::var(EMULATOR).unwrap_or_default();
    let mut words = emulator.split_whitespace();
    let Some(first) = words.next() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(words).arg(program);
    command
}

/// Returns whether this program runs under emulation, where tests with many repetitions do fewer.
pub fn is_emulated() -> bool {
    env::var_os(EMULATOR).is_some()
}

/// Reports that a test is skipped because the emulator lacks a feature. On a real system it panics.
pub fn emulator_lacks(what: &str) {
    assert!(is_emulated(), "this machine lacks {what}");
    println!("skipped: the emulator lacks {what}");
}

/// Returns malformed responses: impossible sizes, more bytes than the header states, unknown tags.
pub fn malformed() -> Vec<Vec<u8>> {
    let with_size = |size: u32| [&[0x80, 0x01], &size.to_be_bytes()[..], &[0; 4]].concat();
    let sizes = (0..10).chain([(1 << 20) + 1, u32::MAX]);
    let mut responses: Vec<Vec<u8>> = sizes.map(with_size).collect();
    responses.push([OK, &[0]].concat());
    responses.push([OK, OK].concat());
    responses.push(b"SSH-2.0-OpenSSH_9.2 ".to_vec());
    responses.push(vec![0; 20]);
    responses.push(vec![0xff; 4096]);
    responses
}

/// A forked process that keeps copies of all file descriptors open until [`ForkedChild::end`].
pub struct ForkedChild(Forked, UnixStream);

impl ForkedChild {
    /// Forks a process that only waits for its end.
    pub fn idle() -> ForkedChild {
        ForkedChild::after(|| {})
    }

    /// Forks a process, and waits until it has done `work`.
    pub fn after(work: impl FnOnce()) -> ForkedChild {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let process = Forked::asks(|| {
            work();
            there.write_all(&[0]).is_ok() && there.read_exact(&mut [0]).is_ok()
        });
        here.read_exact(&mut [0]).unwrap();
        ForkedChild(process, here)
    }

    /// Lets the process exit, and waits for it.
    pub fn end(mut self) {
        self.1.write_all(&[0]).unwrap();
        assert_eq!(self.0.status(), Some(0));
    }
}

/// Returns the file descriptor that a [`Scripted`] transport is polled for. It never becomes readable.
pub fn polled() -> RawFd {
    static PIPE: OnceLock<(OwnedFd, OwnedFd)> = OnceLock::new();
    let (reader, _writer) = PIPE.get_or_init(|| nix::unistd::pipe().unwrap());
    reader.as_raw_fd()
}

/// Sends [`GET_RANDOM`] and polls `handle` for the response, which arrives in at most `pieces` pieces. Fails with `TRY_AGAIN`
/// if poll returns more often than they arrive.
pub fn run_polling<T: Transport>(session: &mut Session<T>, handle: PollHandle, pieces: usize) -> Result<Vec<u8>> {
    assert!(is_ready(&mut [handle]), "no response is due");
    session.transmit(GET_RANDOM)?;
    for _ in 0..pieces {
        assert!(is_ready_within(&mut [handle], -1));
        match session.enter()?.receive(Some(4096), Wait::Millis(0)) {
            Err(error) if error.code() == ReturnCode::TRY_AGAIN => {}
            received => {
                return received.map(|received| match received {
                    Received::Response(response) => response.to_vec(),
                    Received::Size(_) | Received::TooLarge(_) => Vec::new(),
                });
            }
        }
    }
    Err(ReturnCode::TRY_AGAIN.into())
}

/// An event in the script of a [`Scripted`] transport, which `recv` executes.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes arrive.
    Bytes(Vec<u8>),
    /// No byte arrives before the time-out.
    Pending,
    /// The transport reports the response as complete.
    Complete,
    /// The transport fails.
    Fail(ReturnCode),
    /// The transport panics.
    Panic,
}

impl Event {
    /// Returns the event that these bytes arrive.
    pub fn bytes(bytes: &[u8]) -> Event {
        Event::Bytes(bytes.to_vec())
    }
}

/// A transport that follows a script and records how it is called.
pub struct Scripted {
    script: VecDeque<Event>,
    /// The commands sent.
    pub sent: Vec<Vec<u8>>,
    /// How often `abandon` was called.
    pub abandoned: usize,
    /// How often `after_fork` was called.
    pub after_fork: usize,
    /// How often `CANCEL` was called.
    pub cancelled: usize,
    /// The last locality that was set.
    pub locality: u8,
    /// Makes the next send fail.
    pub fail_next_send: bool,
}

impl Scripted {
    /// Creates a transport that executes `script` in order.
    pub fn new(script: Vec<Event>) -> Scripted {
        Scripted {
            script: script.into(),
            sent: Vec::new(),
            abandoned: 0,
            after_fork: 0,
            cancelled: 0,
            locality: 0,
            fail_next_send: false,
        }
    }
}

impl Transport for Scripted {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        if core::mem::take(&mut self.fail_next_send) {
            return Err(ReturnCode::IO_ERROR.into());
        }
        self.sent.push(command.to_vec());
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        loop {
            match self.script.pop_front() {
                Some(Event::Bytes(bytes)) => rx.extend(&bytes)?,
                Some(Event::Complete) => return Ok(Progress::Complete),
                Some(Event::Fail(rc)) => return Err(rc.into()),
                #[expect(clippy::panic, reason = "the script says so")]
                Some(Event::Panic) => panic!("the script says so"),
                Some(Event::Pending) | None => return Ok(Progress::Pending),
            }
            if rx.missing()? == 0 {
                return Ok(Progress::Complete);
            }
        }
    }

    fn abandon(&mut self) {
        self.abandoned += 1;
    }

    fn after_fork(&mut self, _inheritance: Inheritance) {
        self.after_fork += 1;
    }

    const CANCEL: Option<Cancel<Self>> = Some(|scripted| {
        scripted.cancelled += 1;
        Ok(())
    });
    const SET_LOCALITY: Option<SetLocality<Self>> = Some(|scripted, locality| {
        scripted.locality = locality;
        Ok(())
    });
    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|_, watch| {
        watch(polled());
        Ok(())
    });
}

impl Module for Scripted {
    const MAGIC: u64 = 0x7465_7374_7465_7374;
}

impl Open for Scripted {
    /// Without a configuration string three commands get the response [`OK`]; with `panic` the first receive panics; any
    /// other string is `BAD_VALUE`.
    fn open(conf: crate::Conf<'_>) -> Result<Scripted> {
        match conf.text()? {
            None => Ok(Scripted::new(vec![Event::bytes(OK); 3])),
            Some("panic") => Ok(Scripted::new(vec![Event::Panic])),
            Some(other) => Err(crate::fail!(ReturnCode::BAD_VALUE, "unknown script \"{other}\"")),
        }
    }
}

/// A step in the script of a peer.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads this many bytes.
    Read(usize),
    /// Writes bytes.
    Write(Vec<u8>),
    /// Waits at a barrier for the test.
    Await(std::sync::Arc<std::sync::Barrier>),
}

impl Step {
    /// Returns the step that reads a command of the same length.
    pub fn command(command: &[u8]) -> Step {
        Step::Read(command.len())
    }

    /// Returns the step that writes these bytes.
    pub fn write(bytes: &[u8]) -> Step {
        Step::Write(bytes.to_vec())
    }
}

/// Executes `steps` on a connection in a thread, which returns the bytes that it has read. Stops early if the other side closes
/// the connection. Finally it shuts the connection down, because a process that another test has forked may have a copy of the
/// socket.
pub fn play<S>(mut peer: S, steps: Vec<Step>) -> std::thread::JoinHandle<Vec<u8>>
where
    S: Read + Write + AsFd + Send + 'static,
{
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        for step in steps {
            let is_over = match step {
                Step::Read(count) => {
                    let mut bytes = vec![0; count];
                    let read = peer.read_exact(&mut bytes);
                    read.map(|()| seen.extend(bytes)).is_err()
                }
                Step::Write(bytes) => peer.write_all(&bytes).is_err(),
                Step::Await(barrier) => {
                    barrier.wait();
                    false
                }
            };
            if is_over {
                break;
            }
        }
        let _ = shutdown(peer.as_fd().as_raw_fd(), Shutdown::Both); // fails if the other side has closed the connection
        seen
    })
}

/// Serves any number of connections at the same time, and answers every `size` bytes with `reply`.
pub fn serve(listener: std::net::TcpListener, size: usize, reply: &[u8]) {
    let reply = reply.to_vec();
    std::thread::spawn(move || {
        while let Ok((mut peer, _)) = listener.accept() {
            let (mut bytes, reply) = (vec![0; size], reply.clone());
            std::thread::spawn(move || while peer.read_exact(&mut bytes).is_ok() && peer.write_all(&reply).is_ok() {});
        }
    });
}

/// Listens on a free port of the loopback interface; returns the listener and the port.
pub fn listen() -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}
