// SPDX-License-Identifier: BSD-2-Clause
//! Drives `c-tests/fault.c`, which holds the context in a process of its own: a method of [`Program`] per step. A step
//! that is not answered in time fails the test.

use super::module::Module;
use super::outcome::Key;
use super::reply::{Code, Reply};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::{self, Display};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tss2_kit::program::{self, Link};
use tss2_kit::stage;

/// The longest time that a step may take: several of the modules' own time-outs, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The longest time that Finalize may take. Other calls wait 30 s for a peer that does not answer.
const FINALIZE: Duration = Duration::from_secs(20);

/// A `read(2)` from descriptor 100, where the program reads its steps, as `/proc/PID/syscall` shows it.
const READS_STEPS: &str = "0 0x64 ";

/// Compiles the program.
pub fn program() -> PathBuf {
    program::build("fault", Link::Nothing, &["-ldl"])
}

/// The running program, and through it the context of a module.
pub(super) struct Program {
    child: Child,
    steps: Option<ChildStdin>,
    replies: ChildStdout,
    /// The number of open descriptors without a context.
    idle: u64,
}

/// A step that the program has not begun yet.
#[must_use]
pub(super) struct Step<'a> {
    program: &'a mut Program,
    /// The name of the step and its numbers, as `c-tests/fault.c` reads them.
    line: String,
}

/// How long a receive waits for the response.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// `TSS2_TCTI_TIMEOUT_NONE`
    Not,
    /// In milliseconds.
    For(u16),
    /// `TSS2_TCTI_TIMEOUT_BLOCK`
    Forever,
}

/// A resource that a process can run out of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resource {
    /// It may open no more.
    Descriptors,
    /// malloc(3) returns NULL.
    Memory,
    /// It may write no further than the first KiB of a file.
    FileSize,
}

/// Returns the command that runs the program with `module`, without its log.
pub(super) fn command(module: Module, conf: &str) -> Command {
    let mut command = stage::command(program());
    command.arg(module.library()).arg(conf).env("TSS2_LOG", "all+none").env("TCTI_PCAP_FILE", "/dev/null");
    command.stderr(Stdio::null());
    command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"); // memory in that cache would count as used
    command
}

/// The calls of the TCTI.
impl Program {
    /// Initializes a context.
    pub(super) fn init(&mut self) -> Step<'_> {
        self.step("init")
    }

    /// Initializes a context and receives the largest response that is usual here, so that no later response makes a
    /// buffer grow.
    pub(super) fn open(&mut self) {
        self.init().succeeds();
        self.step("transmit 16").succeeds();
        self.receive(Wait::Forever).succeeds();
    }

    /// Finalizes the context, if there is one, without waiting for a peer that does not answer.
    pub(super) fn finalize(&mut self) {
        let since = Instant::now();
        self.step("finalize").succeeds();
        assert!(since.elapsed() < FINALIZE, "Finalize takes {:?}", since.elapsed());
    }

    /// Transmits a GetRandom. Each asks for another number of bytes, from 1 to 16.
    pub(super) fn transmit(&mut self) -> Step<'_> {
        self.step("transmit")
    }

    /// Transmits a GetRandom for one byte.
    pub(super) fn transmit_for_one_byte(&mut self) -> Step<'_> {
        self.step("transmit 1")
    }

    /// Transmits the same GetRandom as before.
    pub(super) fn transmit_again(&mut self) -> Step<'_> {
        self.step("transmit-again")
    }

    /// Transmits a command of 1 MiB.
    pub(super) fn transmit_largest(&mut self) -> Step<'_> {
        self.step("transmit-largest")
    }

    /// Receives the response, which has to be that of the last command, into a buffer of 4096 bytes.
    pub(super) fn receive(&mut self, wait: Wait) -> Step<'_> {
        self.step(format_args!("receive {wait}"))
    }

    /// Receives the response into a buffer of `room` bytes.
    pub(super) fn receive_into(&mut self, room: usize, wait: Wait) -> Step<'_> {
        self.step(format_args!("receive {wait} {room}"))
    }

    /// Receives a response of 1 MiB into a buffer of 2 MiB.
    pub(super) fn receive_largest(&mut self, wait: Wait) -> Step<'_> {
        self.step(format_args!("receive-largest {wait}"))
    }

    /// Asks for the size of the response.
    pub(super) fn receive_size(&mut self, wait: Wait) -> Step<'_> {
        self.step(format_args!("receive-size {wait}"))
    }

    /// Transmits a GetRandom and receives its response.
    pub(super) fn get_random(&mut self) -> Step<'_> {
        self.step("get-random")
    }

    /// Does that `count` times.
    pub(super) fn get_random_times(&mut self, count: usize) -> Step<'_> {
        self.step(format_args!("get-random-times {count}"))
    }

    /// Does that until `count` signals have interrupted it. Their handler is installed without SA_RESTART.
    pub(super) fn get_random_interrupted(&mut self, count: usize) -> Step<'_> {
        self.step(format_args!("get-random-interrupted {count}"))
    }

    /// Cancels the command.
    pub(super) fn cancel(&mut self) -> Step<'_> {
        self.step("cancel")
    }

    pub(super) fn set_locality(&mut self, locality: u8) -> Step<'_> {
        self.step(format_args!("locality {locality}"))
    }

    /// Initializes and finalizes `count` contexts, one after the other.
    pub(super) fn open_contexts(&mut self, count: u64) -> Step<'_> {
        self.step(format_args!("contexts {count}"))
    }

    /// Loads a key into the TPM.
    pub(super) fn load_key(&mut self) -> Step<'_> {
        self.step("load-key")
    }

    /// Uses the key that was loaded, and another command afterwards.
    pub(super) fn key(&mut self) -> Key {
        let reply = self.step("use-key").reply();
        assert_ne!(reply, "WRONG_KEY");
        self.get_random().succeeds();
        if reply.is_success() { Key::Stays } else { Key::Lost }
    }
}

/// Its process.
impl Program {
    /// Counts its open descriptors.
    pub(super) fn descriptors(&mut self) -> u64 {
        self.step("descriptors").number()
    }

    /// Counts the bytes that malloc(3) has handed out.
    pub(super) fn heap(&mut self) -> u64 {
        self.step("heap").number()
    }

    /// Counts the bytes of memory that the process has touched.
    pub(super) fn resident(&mut self) -> u64 {
        self.step("resident").number()
    }

    /// Counts the bytes that were printed on stdout.
    fn printed(&mut self) -> u64 {
        self.step("printed").number()
    }

    /// Closes a descriptor that is not the module's.
    pub(super) fn close_stream(&mut self, descriptor: u32) {
        self.close(descriptor).succeeds();
        self.idle -= 1;
    }

    /// Closes a descriptor.
    pub(super) fn close(&mut self, descriptor: u32) -> Step<'_> {
        self.step(format_args!("close {descriptor}"))
    }

    /// Leaves the process none of a resource.
    pub(super) fn exhaust(&mut self, resource: Resource) {
        let step = match resource {
            Resource::Descriptors => "limit-files 3",
            Resource::Memory => "exhaust-memory",
            Resource::FileSize => "limit-size 1024",
        };
        self.step(step).succeeds();
    }

    /// Returns the resource to the process.
    pub(super) fn replenish(&mut self, resource: Resource) {
        let step = match resource {
            Resource::Descriptors => "limit-files -1",
            Resource::Memory => "release-memory",
            Resource::FileSize => "limit-size -1",
        };
        self.step(step).succeeds();
    }

    /// Unloads the library of the module.
    pub(super) fn dlclose(&mut self) -> Step<'_> {
        self.step("dlclose")
    }

    /// Forks. The child takes the steps from here on, the parent waits for it. Returns the child's process id.
    pub(super) fn fork(&mut self) -> u32 {
        self.step("fork").child()
    }

    /// Forks as [`Program::fork`] does, but the parent also waits for the children of its child.
    pub(super) fn fork_tree(&mut self) -> u32 {
        self.step("fork-tree").child()
    }

    /// Ends the process without Finalize; its parent, if there is one, takes the steps from here on.
    pub(super) fn exit(&mut self) -> Step<'_> {
        self.step("exit")
    }

    /// Marks all files that are open, wherever else the same ones are open, for the parent.
    pub(super) fn mark_files(&mut self) -> Step<'_> {
        self.step("mark-files")
    }

    /// Counts the open files that a child has marked.
    pub(super) fn marked_files(&mut self) -> u64 {
        self.step("marked-files").number()
    }

    /// Handles the signals of [`Program::interrupt`] from here on.
    pub(super) fn catch_interrupts(&mut self) -> Step<'_> {
        self.step("catch-interrupts")
    }

    /// Interrupts the step under way, at a random time.
    pub(super) fn interrupt(&mut self) {
        thread::sleep(Duration::from_micros(RandomState::new().hash_one(()) % 200));
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGUSR1).unwrap();
        assert_eq!(self.reply(), "interrupted");
    }
}

impl Program {
    pub(super) fn start(mut command: Command) -> Program {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (steps, replies) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut program = Program { child, steps, replies, idle: 0 };
        program.idle = program.descriptors();
        program
    }

    fn step(&mut self, line: impl Display) -> Step<'_> {
        Step { program: self, line: line.to_string() }
    }

    /// Waits until the step under way is inside a system call other than that which reads the next step.
    pub(super) fn await_blocked(&mut self) {
        await_blocked(self.id(), || false);
    }

    /// Waits until the process `child` is inside such a system call, or until the step is done.
    pub(super) fn await_blocked_or_done(&mut self, child: u32) {
        await_blocked(child, || {
            poll(&mut [PollFd::new(self.replies.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() > 0
        });
    }

    /// Returns the reply to the step under way, or how the program ended.
    pub(super) fn reply(&mut self) -> Reply {
        let deadline = Instant::now() + LIMIT;
        let mut line = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap();
            let ready = poll(&mut [PollFd::new(self.replies.as_fd(), PollFlags::POLLIN)], timeout).unwrap();
            assert!(ready > 0, "no reply after {LIMIT:?}");
            let mut byte = [0];
            match self.replies.read(&mut byte).unwrap() {
                0 => return Reply::of_end(self.child.wait().unwrap()),
                _ if byte == *b"\n" => return Reply::new(String::from_utf8(line).unwrap()),
                _ => line.extend(byte),
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Finalizes the context and ends the program, which has to exit in good order, without a word on stdout. Nothing
    /// of the context may be left.
    pub(super) fn end(mut self) {
        self.finalize();
        assert_eq!(self.descriptors(), self.idle, "descriptors after Finalize");
        assert_eq!(self.printed(), 0, "the module prints on stdout");
        self.steps = None;
        assert_eq!(self.reply(), Reply::EXITED);
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl<'a> Step<'a> {
    /// Takes the step and returns the reply.
    pub(super) fn reply(self) -> Reply {
        self.begin().reply()
    }

    /// Takes the step, which has to succeed.
    pub(super) fn succeeds(self) {
        let line = self.line.clone();
        assert_eq!(self.reply(), Code::Success, "{line}");
    }

    /// Begins the step; [`Program::reply`] returns the reply later.
    pub(super) fn begin(self) -> &'a mut Program {
        writeln!(self.program.steps.as_ref().unwrap(), "{}", self.line).unwrap();
        self.program
    }

    fn number(self) -> u64 {
        let line = self.line.clone();
        let reply = self.reply();
        reply.number().unwrap_or_else(|| panic!("{line}: {reply}"))
    }

    fn child(self) -> u32 {
        let line = self.line.clone();
        let reply = self.reply();
        reply.child().unwrap_or_else(|| panic!("{line}: {reply}"))
    }
}

impl Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Not => f.write_str("0"),
            Wait::For(milliseconds) => milliseconds.fmt(f),
            Wait::Forever => f.write_str("-1"),
        }
    }
}

/// Waits until a process is inside a system call that does not read steps, or until `is_done`.
fn await_blocked(process: u32, is_done: impl Fn() -> bool) {
    let since = Instant::now();
    let file = format!("/proc/{process}/syscall");
    let mut seen = String::new();
    // The same call twice, because a short one may be under way.
    while !is_done() {
        let now = fs::read_to_string(&file).unwrap_or_default();
        if now == seen && !now.starts_with("running") && !now.starts_with(READS_STEPS) && !now.is_empty() {
            return;
        }
        assert!(since.elapsed() < LIMIT, "the process does not wait: {now}");
        seen = now;
        thread::sleep(Duration::from_millis(2)); // the interval between two looks
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}
