// SPDX-License-Identifier: BSD-2-Clause
//! `c-tests/fault.c` in a process of its own, one step at a time. A step that is not answered in time fails the test.

use super::module::Module;
use super::outcome::Key;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tss2_kit::program::{self, Link};
use tss2_kit::stage;

/// How long a step may take: several of the modules' own time-outs, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Finalize takes less on a busy machine, too. Other calls wait 30 s for a peer that does not answer.
const FINALIZE: Duration = Duration::from_secs(20);

/// Where the program reads its steps from: `read(2)` from 100, as `/proc/PID/syscall` shows it.
const READS_STEPS: &str = "0 0x64 ";

/// The program, compiled.
pub fn program() -> PathBuf {
    program::build("fault", Link::Nothing, &["-ldl"])
}

/// A running one.
pub(super) struct Program {
    child: Child,
    steps: Option<ChildStdin>,
    codes: ChildStdout,
    /// Descriptors without a context.
    idle: u64,
}

/// What the program runs with, besides its module.
pub(super) fn command(module: Module, conf: &str) -> Command {
    let mut command = stage::command(program());
    command.arg(module.library()).arg(conf).env("TSS2_LOG", "all+none").env("TCTI_PCAP_FILE", "/dev/null");
    command.stderr(Stdio::null());
    command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"); // what is free there counts as used
    command
}

impl Program {
    pub(super) fn start(mut command: Command) -> Program {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (steps, codes) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut program = Program { child, steps, codes, idle: 0 };
        program.idle = program.descriptors();
        program
    }

    /// How many are open.
    pub(super) fn descriptors(&mut self) -> u64 {
        self.number("descriptors")
    }

    /// Closes one that is not the module's.
    pub(super) fn close(&mut self, descriptor: u32) {
        self.succeed(&format!("close {descriptor}"));
        self.idle -= 1;
    }

    /// One step and its code.
    pub(super) fn step(&mut self, step: &str) -> String {
        self.begin(step);
        self.code()
    }

    /// Has to succeed.
    pub(super) fn succeed(&mut self, step: &str) {
        assert_eq!(self.step(step), "SUCCESS", "{step}");
    }

    pub(super) fn number(&mut self, step: &str) -> u64 {
        let number = self.step(step);
        number.parse().unwrap_or_else(|_| panic!("{step}: {number}"))
    }

    /// Ends a context, without waiting for a peer that does not answer.
    pub(super) fn finalize(&mut self) {
        let since = Instant::now();
        self.succeed("finalize");
        assert!(since.elapsed() < FINALIZE, "Finalize takes {:?}", since.elapsed());
    }

    /// Opens a context, and has the largest response that is usual here, so that no buffer grows for another one.
    pub(super) fn open(&mut self) {
        self.succeed("open");
        self.succeed("transmit 16");
        self.succeed("receive -1");
    }

    /// Whether the key is there that the step "load" has loaded.
    pub(super) fn key(&mut self) -> Key {
        let code = self.step("key");
        assert_ne!(code, "WRONG_KEY");
        self.succeed("random");
        if code == "SUCCESS" { Key::Stays } else { Key::Lost }
    }

    /// A step whose code is asked for later.
    pub(super) fn begin(&mut self, step: &str) {
        writeln!(self.steps.as_ref().unwrap(), "{step}").unwrap();
    }

    /// Waits until the step under way is inside a system call other than that which reads the next step.
    pub(super) fn await_blocked(&mut self) {
        await_blocked(self.id(), || false);
    }

    /// The same in a child; or until the step is done.
    pub(super) fn await_blocked_or_done(&mut self, child: u32) {
        await_blocked(child, || {
            poll(&mut [PollFd::new(self.codes.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() > 0
        });
    }

    /// The code of the step under way, or how the program ended.
    pub(super) fn code(&mut self) -> String {
        let deadline = Instant::now() + LIMIT;
        let mut line = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap();
            let ready = poll(&mut [PollFd::new(self.codes.as_fd(), PollFlags::POLLIN)], timeout).unwrap();
            assert!(ready > 0, "no answer after {LIMIT:?}");
            let mut byte = [0];
            match self.codes.read(&mut byte).unwrap() {
                0 => return self.how_it_ended(),
                _ if byte == *b"\n" => return String::from_utf8(line).unwrap(),
                _ => line.extend(byte),
            }
        }
    }

    fn how_it_ended(&mut self) -> String {
        let status = self.child.wait().unwrap();
        status.signal().map_or_else(|| format!("EXIT {status}"), |signal| format!("SIGNAL {signal}"))
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it come to its end, which has to be orderly and silent on stdout. Nothing of a context is left then.
    pub(super) fn end(mut self) {
        self.succeed("finalize");
        assert_eq!(self.descriptors(), self.idle, "descriptors after Finalize");
        assert_eq!(self.number("printed"), 0, "the module prints on stdout");
        self.steps = None;
        assert_eq!(self.code(), "EXIT exit status: 0");
    }

    /// Interrupts the step under way, at any time; `catch` was a step before.
    pub(super) fn interrupt(&mut self) {
        thread::sleep(Duration::from_micros(RandomState::new().hash_one(()) % 200));
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGUSR1).unwrap();
        assert_eq!(self.code(), "interrupted");
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Waits until a process is inside a system call, or until then.
fn await_blocked(process: u32, is_done: impl Fn() -> bool) {
    let since = Instant::now();
    let file = format!("/proc/{process}/syscall");
    let mut seen = String::new();
    // Twice the same, because a short call may be under way.
    while !is_done() {
        let now = fs::read_to_string(&file).unwrap_or_default();
        if now == seen && !now.starts_with("running") && !now.starts_with(READS_STEPS) && !now.is_empty() {
            return;
        }
        assert!(since.elapsed() < LIMIT, "it does not wait: {now}");
        seen = now;
        thread::sleep(Duration::from_millis(2)); // only how often to ask
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}
