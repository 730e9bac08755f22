// SPDX-License-Identifier: BSD-2-Clause
//! A command as a transport: TPM commands go to its standard input, responses come from its standard output. We hold
//! the reading end of its input too: a pipe that has a reader raises no SIGPIPE, and that the command ended is seen at
//! its output.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{pipe2, read, write};
use rustix::io::ioctl_fionread;
use rustix::pipe::{SpliceFlags, splice};
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tcti_core::io::{above_stdio, wait_for};
use tcti_core::net::Arrival;
use tcti_core::{Conf, Deadline, GetPollHandles, Open, Progress, Rc, Result, RxBuf, Transport, Wait, fail};

/// How long a command may take to end by itself after its input was closed, and again after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(1);

/// The same where the caller is in the middle of an exchange.
const HASTE: Duration = Duration::from_millis(20);

/// How long a command may leave its input unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A command, which need not be UTF-8, and its process while it runs.
pub(crate) struct Cmd {
    command: PathBuf,
    process: Option<Process>,
}

/// A running command.
struct Process {
    child: Child,
    /// Closed first when the command is to end.
    stdin: Option<Stdin>,
    stdout: OwnedFd,
    /// Whether it has given a response: then it is no command that cannot work at all.
    has_answered: bool,
    /// Bytes of the TPM command under way; 0 when there is none.
    sent: usize,
}

/// The pipe to a command.
struct Stdin {
    /// Does not block, so that a command that does not read is noticed.
    writer: OwnedFd,
    /// Keeps SIGPIPE away, and tells what a command that ended has not read.
    reader: OwnedFd,
}

impl Process {
    fn spawn(command: &Path) -> io::Result<Process> {
        let (stdin, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let (stdout, output) = pipe2(OFlag::O_CLOEXEC)?;
        let (writer, reader, stdout) = (above_stdio(writer)?, stdin.try_clone()?, above_stdio(stdout)?);
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg(command)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(output))
            .spawn()?;
        Ok(Process { child, stdin: Some(Stdin { writer, reader }), stdout, has_answered: false, sent: 0 })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.sent = bytes.len();
        let stdin = self.stdin.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let deadline = Deadline::within(WRITE_TIMEOUT);
        while !bytes.is_empty() {
            match write(&stdin.writer, bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.await_room(stdin, &deadline)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until the command reads on. One that has ended never will, and the pipe does not say so, since we hold its
    /// reading end; that of its output has.
    fn await_room(&self, stdin: &Stdin, deadline: &Deadline) -> io::Result<()> {
        let room = PollFd::new(stdin.writer.as_fd(), PollFlags::POLLOUT);
        let output = PollFd::new(self.stdout.as_fd(), PollFlags::empty());
        let mut ends = [room, output];
        match poll(&mut ends, deadline.poll_timeout()) {
            Ok(0) if deadline.has_passed() => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if matches!(ends, [_, output] if output.any() == Some(true)) => Err(io::ErrorKind::BrokenPipe.into()),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The TPM command that was sent last, when nobody has read a byte of it.
    fn unread(&self) -> Option<Vec<u8>> {
        let stdin = self.stdin.as_ref()?;
        if u64::try_from(self.sent) != Ok(ioctl_fionread(&stdin.reader).ok()?) {
            return None;
        }
        let mut command = Vec::new();
        command.try_reserve_exact(self.sent).ok()?;
        command.resize(self.sent, 0);
        // The pipe itself would block when somebody else has read it meanwhile, whom the command has left behind.
        let (ours, taken) = pipe2(OFlag::O_CLOEXEC).ok()?;
        let claimed = splice(&stdin.reader, None, &taken, None, self.sent, SpliceFlags::NONBLOCK).ok()?;
        (claimed == self.sent && read(&ours, &mut command).ok()? == self.sent).then_some(command)
    }

    /// Whether nothing waits to be read.
    fn is_quiet(&self) -> bool {
        ioctl_fionread(&self.stdout).is_ok_and(|waiting| waiting == 0)
    }

    /// Adds what one read gives to `rx`.
    fn read(&self, rx: &mut RxBuf, wait: Wait, deadline: &Deadline) -> Result<Arrival> {
        loop {
            // The pipe itself waits where the caller does, which saves the poll.
            if wait != Wait::Forever && !wait_for(self.stdout.as_fd(), PollFlags::POLLIN, deadline)? {
                return Ok(Arrival::Nothing);
            }
            match rx.read_with(|room| read(&self.stdout, room))? {
                Ok(0) => return Ok(Arrival::End),
                Ok(_) => return Ok(Arrival::Bytes),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(fail!(Rc::IO_ERROR, "cannot read from the command: {}", error.desc())),
            }
        }
    }

    /// How the command ended, when it does so in time; `None` in the inner place when the host program reaped it.
    /// wait(2) knows no time-out, so this asks again, less and less often: a command that ends soon is noticed soon.
    fn ended(&mut self, within: Duration) -> Option<Option<ExitStatus>> {
        let deadline = Deadline::within(within);
        let mut pause = Duration::from_micros(50);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(Some(status)),
                Err(_) => return Some(None),
                Ok(None) if deadline.has_passed() => return None,
                Ok(None) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Process {
    /// Ends the command: its input closes, which ends any well-behaved one, then SIGTERM, then SIGKILL.
    fn stop(&mut self, patience: Duration) {
        self.stdin = None;
        for signal in [Signal::TERM, Signal::KILL] {
            if self.ended(patience).is_some() {
                return;
            }
            if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                // It fails when the process is gone, which is what is wanted.
                let _ = kill_process(pid, signal);
            }
        }
        self.ended(patience);
    }
}

impl Drop for Cmd {
    fn drop(&mut self) {
        self.end(PATIENCE);
    }
}

impl Cmd {
    fn end(&mut self, patience: Duration) {
        if let Some(mut process) = self.process.take() {
            process.stop(patience);
        }
    }

    /// Starts the command in place of one that ended.
    fn start(&mut self) -> Result<()> {
        self.end(HASTE);
        let process = Process::spawn(&self.command).map_err(|error| {
            fail!(Rc::IO_ERROR, "cannot start /bin/sh for the command \"{}\": {error}", self.command.display())
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts a command anew that ended between two TPM commands, as ssh does when its connection is idle, and sends it
    /// what its predecessor has not read. `false` when that is not how it ended.
    fn revive(&mut self) -> Result<bool> {
        let ended = self.process.as_ref().filter(|process| process.has_answered);
        let Some(command) = ended.and_then(Process::unread) else { return Ok(false) };
        self.start()?;
        self.write(&command)?;
        Ok(true)
    }

    fn write(&mut self, command: &[u8]) -> Result<()> {
        let Some(process) = &mut self.process else { return Err(Rc::IO_ERROR) };
        process.write(command).map_err(|error| {
            let reason = match error.kind() {
                io::ErrorKind::TimedOut => format!("it does not read, for {} s", WRITE_TIMEOUT.as_secs()),
                _ => error.to_string(),
            };
            fail!(Rc::IO_ERROR, "cannot send to the command \"{}\": {reason}", self.command.display())
        })
    }

    /// The error of a command that ended before its answer did.
    fn died(&mut self, rx: &RxBuf, deadline: &Deadline) -> Rc {
        let patience = deadline.remaining().map_or(PATIENCE, |left| left.clamp(HASTE, PATIENCE));
        let status = self.process.as_mut().and_then(|process| process.ended(patience));
        let how = match status {
            Some(Some(status)) => format!("ended ({status})"),
            Some(None) => "ended".to_owned(),
            None => "closed its standard output".to_owned(),
        };
        let hint = match status.flatten().and_then(|status| status.code()) {
            Some(127) => ". Is it installed, and spelled right?",
            Some(255) => ". ssh ends so when it cannot connect",
            _ => "",
        };
        fail!(
            Rc::IO_ERROR,
            "the command \"{}\" {how} after {} bytes of the response{hint}",
            self.command.display(),
            rx.len()
        )
    }
}

impl Open for Cmd {
    const MAGIC: u64 = 0xf05b_04cd_9f02_728d;

    fn open(conf: Conf<'_>) -> Result<Cmd> {
        let command = conf
            .path()
            .ok_or_else(|| fail!(Rc::BAD_VALUE, "the TCTI cmd needs a command, such as \"cmd:ssh HOST tpm2_send\""))?;
        let mut cmd = Cmd { command: command.into(), process: None };
        cmd.start()?;
        Ok(cmd)
    }
}

impl Transport for Cmd {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        // What it printed unasked would be taken for the response.
        if self.process.as_ref().is_some_and(|process| !process.is_quiet()) {
            self.abandon();
        }
        if self.process.is_none() {
            self.start()?;
        }
        self.write(command)
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let deadline = Deadline::after(wait);
        while rx.missing()? > 0 {
            let Some(process) = &self.process else { return Err(Rc::BAD_SEQUENCE) };
            match process.read(rx, wait, &deadline)? {
                Arrival::Bytes => {}
                Arrival::Nothing => return Ok(Progress::Pending),
                Arrival::End if rx.is_empty() && self.revive()? => {}
                Arrival::End => return Err(self.died(rx, &deadline)),
            }
        }
        if let Some(process) = &mut self.process {
            process.has_answered = true;
            process.sent = 0;
        }
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {
        self.end(HASTE);
    }

    /// The process is the parent's child, not ours.
    fn inherited(&mut self) {
        self.process = None;
    }

    const POLL_HANDLES: Option<GetPollHandles<Self>> =
        Some(|cmd| Ok(cmd.process.iter().map(|process| process.stdout.as_raw_fd()).collect()));
}

#[cfg(test)]
mod tests;
