// SPDX-License-Identifier: BSD-2-Clause
//! A running command: [`Process::spawn`]. We hold the reading end of its input too: a pipe that has a reader raises no
//! SIGPIPE, that the command ended is seen at its output, and at the reading end that nobody can write any more.
#![forbid(unsafe_code)]

use super::lifeline::Lifeline;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{pipe2, read, write};
use rustix::io::ioctl_fionread;
use rustix::pipe::{SpliceFlags, splice};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tcti_core::io::Arrival;
use tcti_core::io::{above_stdio, wait_for};
use tcti_core::{Deadline, Result, ReturnCode, RxBuf, fail};

/// How long a command may take to end by itself after its input was closed, and again after SIGTERM.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The same where the caller is in the middle of an exchange.
pub(crate) const HASTE: Duration = Duration::from_millis(20);

/// How long a command may leave its input unread.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A running command.
pub(crate) struct Process {
    child: Child,
    /// Becomes readable when the command has ended. Absent before Linux 5.3, and where the system denies it.
    pidfd: Option<OwnedFd>,
    /// Closed first when the command is to end.
    stdin: Option<Stdin>,
    stdout: OwnedFd,
    /// Ends it with the last process that has it.
    _lifeline: Lifeline,
    /// Whether it has given a response: then it is no command that cannot work at all.
    pub(crate) has_answered: bool,
    /// Bytes of the TPM command under way; 0 when there is none.
    pub(crate) sent: usize,
}

/// The pipe to a command.
struct Stdin {
    /// Does not block, so that a command that does not read is noticed.
    writer: OwnedFd,
    /// Keeps SIGPIPE away, and tells what a command that ended has not read.
    reader: OwnedFd,
}

impl Process {
    pub(crate) fn spawn(command: &Path) -> io::Result<Process> {
        let (stdin, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let (stdout, output) = pipe2(OFlag::O_CLOEXEC)?;
        let (writer, reader, stdout) = (above_stdio(writer)?, stdin.try_clone()?, above_stdio(stdout)?);
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let (lifeline, end) = Lifeline::new()?;
        let child = Command::new("/bin/sh")
            .arg0("sh")
            .arg("-c")
            .arg(command)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(output))
            .spawn()?;
        if let Some(pid) = pid(&child) {
            end.tie(pid);
        }
        let pidfd = pid(&child).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let pidfd = pidfd.map(above_stdio).transpose()?;
        let stdin = Some(Stdin { writer, reader });
        Ok(Process { child, pidfd, stdin, stdout, _lifeline: lifeline, has_answered: false, sent: 0 })
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
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
    pub(crate) fn unread(&self) -> Option<Vec<u8>> {
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
    pub(crate) fn is_quiet(&self) -> bool {
        ioctl_fionread(&self.stdout).is_ok_and(|waiting| waiting == 0)
    }

    /// Adds what one read gives to `rx`.
    pub(crate) fn read(&self, rx: &mut RxBuf, deadline: &Deadline) -> Result<Arrival> {
        loop {
            // The pipe itself waits where the caller does, which saves the poll.
            if !matches!(deadline, Deadline::Never) && !wait_for(self.stdout.as_fd(), PollFlags::POLLIN, deadline)? {
                return Ok(Arrival::Nothing);
            }
            match rx.read_with(|room| read(&self.stdout, room))? {
                Ok(0) => return Ok(Arrival::End),
                Ok(_) => return Ok(Arrival::Bytes),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    return Err(fail!(ReturnCode::IO_ERROR, "cannot read from the command: {}", error.desc()));
                }
            }
        }
    }

    /// Takes what is there, as much as there is room for; how much that is. `None` when nothing comes in time.
    pub(crate) fn take(&self, room: &mut [u8], deadline: &Deadline) -> Option<usize> {
        loop {
            wait_for(self.stdout.as_fd(), PollFlags::POLLIN, deadline).ok().filter(|came| *came)?;
            match read(&self.stdout, room) {
                Err(Errno::EINTR) => {}
                taken => return taken.ok().filter(|count| *count > 0),
            }
        }
    }

    /// What to poll for a response.
    pub(crate) fn watched(&self) -> RawFd {
        self.stdout.as_raw_fd()
    }

    /// How the command ended, when it does so in time; `None` in the inner place when that is another process's to know:
    /// the one that started it, or the host program, which reaped it.
    pub(crate) fn ended(&mut self, within: Duration) -> Option<Option<ExitStatus>> {
        let deadline = Deadline::within(within);
        loop {
            match (self.child.try_wait(), &self.pidfd) {
                (Ok(Some(status)), _) => return Some(Some(status)),
                (Err(_), Some(pidfd)) => {
                    return wait_for(pidfd.as_fd(), PollFlags::POLLIN, &deadline).ok()?.then_some(None);
                }
                (Err(_), None) => return Some(None),
                (Ok(None), _) if deadline.has_passed() => return None,
                (Ok(None), Some(pidfd)) => {
                    wait_for(pidfd.as_fd(), PollFlags::POLLIN, &deadline).ok()?;
                }
                // Nothing tells: wait(2) knows no time-out. So this asks, a thousand times a second.
                (Ok(None), None) => {
                    let _ = poll(&mut [], PollTimeout::from(1_u8));
                }
            }
        }
    }

    /// Ends the command, for every process that has it: its input closes, which ends any well-behaved one, then SIGTERM,
    /// then SIGKILL. One that has had no TPM command may not have begun, and has nothing to end well: it gets SIGTERM at once,
    /// as from the C module.
    pub(crate) fn stop(mut self, patience: Duration) {
        self.stdin = None;
        let was_used = self.has_answered || self.sent > 0;
        for signal in [Signal::TERM, Signal::KILL] {
            let is_hurried = signal == Signal::TERM && !was_used;
            if self.ended(if is_hurried { Duration::ZERO } else { patience }).is_some() {
                return;
            }
            // It fails when the process is gone, which is what is wanted.
            let _ = match (&self.pidfd, pid(&self.child)) {
                (Some(pidfd), _) => pidfd_send_signal(pidfd, signal),
                (None, Some(pid)) => kill_process(pid, signal), // ours, and not reaped
                (None, None) => return,
            };
        }
        self.ended(patience);
    }

    /// Closes its input, and ends the command unless another process can still write to it, `haste` from now.
    pub(crate) fn leave(mut self, haste: Duration, patience: Duration) {
        let reader = self.stdin.take().map(|Stdin { reader, .. }| reader);
        // A pipe that nobody can write to hangs up (poll(2)).
        let is_last = reader.is_none_or(|reader| {
            wait_for(reader.as_fd(), PollFlags::empty(), &Deadline::within(haste)).unwrap_or(true)
        });
        if is_last {
            self.stop(patience);
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
impl Process {
    /// One that has ended, with other pipes.
    pub(crate) fn over(writer: OwnedFd, reader: OwnedFd, stdout: OwnedFd) -> io::Result<Process> {
        let child = Command::new("true").spawn()?;
        let (lifeline, _) = Lifeline::new()?;
        let stdin = Some(Stdin { writer, reader });
        Ok(Process { child, pidfd: None, stdin, stdout, _lifeline: lifeline, has_answered: false, sent: 0 })
    }
}
