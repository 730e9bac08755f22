// SPDX-License-Identifier: BSD-2-Clause
//! For unit tests: messages, a transport that follows a script, and peers that do.
#![expect(clippy::unwrap_used, reason = "only tests call this")]

use crate::deadline::Wait;
use crate::rx::RxBuf;
pub use crate::sys::Forked;
use crate::transport::{Cancel, GetPollHandles, Inheritance, Module, Open, Progress, SetLocality, Transport};
use crate::{Result, ReturnCode};
use nix::sys::socket::{Shutdown, shutdown};
use std::collections::VecDeque;
use std::env;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::Command;

#[cfg(any(test, feature = "property"))]
pub mod exchange;

/// TPM2_GetRandom of 8 bytes.
pub const GET_RANDOM: &[u8] = &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8];
/// A response to it.
pub const OK: &[u8] = &[0x80, 0x01, 0, 0, 0, 20, 0, 0, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];

/// The environment variable by which `cargo xtask arch` says what emulates this machine: a program and its arguments.
const EMULATOR: &str = "TSS2_EMULATOR";

/// This very program once more. An emulator starts itself with it, since the kernel runs no programs of other machines.
pub fn itself() -> Command {
    let program = env::current_exe().unwrap();
    let emulator = env::var(EMULATOR).unwrap_or_default();
    let mut words = emulator.split_whitespace();
    let Some(first) = words.next() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(words).arg(program);
    command
}

/// Whether an emulator runs this, where a test that repeats itself has to do with less.
pub fn is_emulated() -> bool {
    env::var_os(EMULATOR).is_some()
}

/// Says what of a test an emulator lacks. On a real machine that is a failure.
pub fn emulator_lacks(what: &str) {
    assert!(is_emulated(), "this machine lacks {what}");
    println!("not tested, because the emulator lacks it: {what}");
}

/// Responses that are none, each MALFORMED_RESPONSE: impossible sizes, more bytes than said, other tags.
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

/// A process that was forked from this one and has all that it had, until [`ForkedChild::end`].
pub struct ForkedChild(Forked, UnixStream);

impl ForkedChild {
    /// One that does nothing.
    pub fn idle() -> ForkedChild {
        ForkedChild::after(|| {})
    }

    /// One that has done this, and then does nothing.
    pub fn after(work: impl FnOnce()) -> ForkedChild {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let process = Forked::asks(|| {
            work();
            there.write_all(&[0]).is_ok() && there.read_exact(&mut [0]).is_ok()
        });
        here.read_exact(&mut [0]).unwrap();
        ForkedChild(process, here)
    }

    /// Ends it.
    pub fn end(mut self) {
        self.1.write_all(&[0]).unwrap();
        assert_eq!(self.0.status(), Some(0));
    }
}

/// What a [`Scripted`] transport has to poll. It has no descriptor: only the number counts.
pub const POLLED: std::os::fd::RawFd = 1234;

/// What a [`Scripted`] transport does next in `recv`.
#[derive(Clone, Debug)]
pub enum Event {
    /// These bytes arrive.
    Bytes(Vec<u8>),
    /// Time passes without a byte.
    Pending,
    /// The transport holds the response for whole.
    Complete,
    /// The transport fails.
    Fail(ReturnCode),
    /// The transport panics.
    Panic,
}

impl Event {
    /// These bytes arrive.
    pub fn bytes(bytes: &[u8]) -> Event {
        Event::Bytes(bytes.to_vec())
    }
}

/// A transport that follows a script and notes what was asked of it.
pub struct Scripted {
    script: VecDeque<Event>,
    /// The commands sent.
    pub sent: Vec<Vec<u8>>,
    /// How often an exchange was abandoned.
    pub abandoned: usize,
    /// How often it was found to be inherited.
    pub after_fork: usize,
    /// How many responses were collected.
    pub collected: usize,
    /// How often a command was cancelled.
    pub cancelled: usize,
    /// The locality set last.
    pub locality: u8,
    /// Whether the next send fails.
    pub refuse_send: bool,
}

impl Scripted {
    /// Follows `script`, one event after the other.
    pub fn new(script: Vec<Event>) -> Scripted {
        Scripted {
            script: script.into(),
            sent: Vec::new(),
            abandoned: 0,
            after_fork: 0,
            collected: 0,
            cancelled: 0,
            locality: 0,
            refuse_send: false,
        }
    }
}

impl Transport for Scripted {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        if core::mem::take(&mut self.refuse_send) {
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

    fn response_taken(&mut self) {
        self.collected += 1;
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
    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|_| Ok(vec![POLLED]));
}

/// Opened without a conf string it answers each GetRandom; with `panic` the first receive panics;
/// any other conf string is `BAD_VALUE`.
impl Module for Scripted {
    const MAGIC: u64 = 0x7465_7374_7465_7374;
}

impl Open for Scripted {
    fn open(conf: crate::Conf<'_>) -> Result<Scripted> {
        match conf.text()? {
            None => Ok(Scripted::new(vec![Event::bytes(OK); 3])),
            Some("panic") => Ok(Scripted::new(vec![Event::Panic])),
            Some(other) => Err(crate::fail!(ReturnCode::BAD_VALUE, "\"{other}\" is no script")),
        }
    }
}

/// What a scripted peer does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads so many bytes.
    Read(usize),
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Waits until the test drops or uses the other end of this channel.
    Await(std::sync::Arc<std::sync::Barrier>),
}

impl Step {
    /// Reads one whole command of this length.
    pub fn command(command: &[u8]) -> Step {
        Step::Read(command.len())
    }

    /// Writes these bytes.
    pub fn write(bytes: &[u8]) -> Step {
        Step::Write(bytes.to_vec())
    }
}

/// Plays `steps` on a connection, in a thread of the test; returns what it read. Ends early when the other
/// side hangs up. Then it hangs up itself, for all: a process that another test has forked may have the socket, too.
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
        let _ = shutdown(peer.as_fd().as_raw_fd(), Shutdown::Both); // the other side may have been faster
        seen
    })
}

/// A listener on a free port of the loopback, and its port.
pub fn listen() -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}
