// SPDX-License-Identifier: BSD-2-Clause
//! A running command: [`Process::spawn`]. We keep the read end of its input open too. A pipe with a reader raises no
//! SIGPIPE; the exit of the command shows as end of file on its output, and the read end shows when the last writer is
//! gone.
#![forbid(unsafe_code)]

use super::hangup::HangupPipe;
use super::shell::{Shell, reap};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{pipe2, read, write};
use rustix::io::ioctl_fionread;
use rustix::process::{Signal, pidfd_send_signal};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tcti_core::io::Arrival;
use tcti_core::io::wait_for;
use tcti_core::kept::Kept;
use tcti_core::{Deadline, Result, ReturnCode, RxBuf, fail};
use zeroize::Zeroizing;

/// How long a command may take to exit after its input was closed, and again after SIGTERM.
pub(crate) const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The same while the caller is waiting for a command to be sent.
pub(crate) const SHORT_EXIT_TIMEOUT: Duration = Duration::from_millis(20);

/// How long a command may leave its input unread.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A running command.
pub(crate) struct Process {
    pub(crate) shell: Shell,
    /// Closed first to stop the command.
    stdin: Option<Stdin>,
    stdout: Kept,
    /// Terminates the command when the last process that uses it is gone.
    _hangup: HangupPipe,
    /// Whether a response has been read: the command works, and is restarted if it exits while idle.
    pub(crate) has_answered: bool,
    /// Size in bytes of the TPM command in progress, or 0.
    pub(crate) sent: usize,
}

/// The pipe to a command.
struct Stdin {
    /// Non-blocking, so that a command that does not read its input is noticed.
    writer: Kept,
    /// Prevents SIGPIPE, and holds what a command has not read when it exits.
    reader: Kept,
}

impl Process {
    pub(crate) fn spawn(command: &Path) -> io::Result<Process> {
        reap();
        let (stdin, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let (stdout, output) = pipe2(OFlag::O_CLOEXEC)?;
        let (writer, reader, stdout) = (Kept::new(writer)?, Kept::new(stdin.try_clone()?)?, Kept::new(stdout)?);
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let (hangup, read_end) = HangupPipe::new()?;
        let child = Command::new("/bin/sh")
            .arg0("sh")
            .arg("-c")
            .arg(command)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(output))
            .spawn()?;
        let shell = Shell::new(&child)?;
        read_end.signal(shell.id());
        let stdin = Some(Stdin { writer, reader });
        Ok(Process { shell, stdin, stdout, _hangup: hangup, has_answered: false, sent: 0 })
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.sent = bytes.len();
        let stdin = self.stdin.as_ref().filter(|stdin| stdin.writer.is_open()).ok_or(io::ErrorKind::BrokenPipe)?;
        let deadline = Deadline::within(WRITE_TIMEOUT);
        while !bytes.is_empty() {
            match write(&stdin.writer, bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait_until_writable(stdin, &deadline)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until the command reads more of its input. If it has exited, the pipe does not report that, since we hold its
    /// read end; the pipe from its output does.
    fn wait_until_writable(&self, stdin: &Stdin, deadline: &Deadline) -> io::Result<()> {
        let input = PollFd::new(stdin.writer.as_fd(), PollFlags::POLLOUT);
        let output = PollFd::new(self.stdout.as_fd(), PollFlags::empty());
        let mut fds = [input, output];
        match poll(&mut fds, deadline.poll_timeout()) {
            Ok(0) if deadline.has_passed() => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if matches!(fds, [_, output] if output.any() == Some(true)) => Err(io::ErrorKind::BrokenPipe.into()),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the last TPM command back out of the pipe, if nobody has read a byte of it.
    pub(crate) fn take_unread(&self) -> Option<Zeroizing<Vec<u8>>> {
        let stdin = self.stdin.as_ref()?;
        if u64::try_from(self.sent) != Ok(ioctl_fionread(stdin.reader.get()?).ok()?) {
            return None;
        }
        let mut command = Zeroizing::new(Vec::new());
        command.try_reserve_exact(self.sent).ok()?;
        command.resize(self.sent, 0);
        // A read from the pipe itself would block if a process that the command left behind has emptied it meanwhile.
        let (ours, taken) = pipe2(OFlag::O_CLOEXEC).ok()?;
        let claimed = splice(&stdin.reader, None, &taken, None, self.sent, SpliceFFlags::SPLICE_F_NONBLOCK).ok()?;
        (claimed == self.sent && read(&ours, &mut command).ok()? == self.sent).then_some(command)
    }

    /// Returns whether no bytes are waiting to be read.
    pub(crate) fn is_quiet(&self) -> bool {
        ioctl_fionread(&self.stdout).is_ok_and(|waiting| waiting == 0)
    }

    /// Adds the bytes of one read(2) to `rx`.
    pub(crate) fn read(&self, rx: &mut RxBuf, deadline: &Deadline) -> Result<Arrival> {
        loop {
            // The read blocks if the caller may wait forever, which saves the poll.
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

    /// Reads what has arrived into `buffer`, and returns the number of bytes; `None` if nothing arrives in time.
    pub(crate) fn read_some(&self, buffer: &mut [u8], deadline: &Deadline) -> Option<usize> {
        loop {
            wait_for(self.stdout.as_fd(), PollFlags::POLLIN, deadline).ok().filter(|is_ready| *is_ready)?;
            match read(&self.stdout, buffer) {
                Err(Errno::EINTR) => {}
                result => return result.ok().filter(|count| *count > 0),
            }
        }
    }

    /// Returns whether the file descriptor of its output is open.
    pub(crate) fn is_open(&self) -> bool {
        self.stdout.is_open()
    }

    /// Returns the file descriptor that becomes readable when a response arrives.
    pub(crate) fn poll_handle(&self) -> RawFd {
        self.stdout.as_raw_fd()
    }

    /// Waits for the command to exit, see [`Shell::wait`].
    pub(crate) fn wait(&mut self, timeout: Duration) -> Option<Option<ExitStatus>> {
        self.shell.wait(timeout)
    }

    /// Terminates the command, for every process that uses it: closes its input, at which a well-behaved command exits,
    /// then sends SIGTERM, then SIGKILL, and waits `timeout` after each. A command that was never sent a TPM command may
    /// not read its input yet, and has nothing to finish: it gets SIGTERM at once, as from the C module.
    ///
    /// The signals go to the shell and to the processes below it. A process that the command leaves behind when it exits by
    /// itself, such as ssh with ControlPersist, gets none.
    pub(crate) fn terminate(mut self, timeout: Duration) {
        self.stdin = None;
        let was_used = self.has_answered || self.sent > 0;
        let mut descendants = Vec::new();
        for signal in [Signal::TERM, Signal::KILL] {
            let at_once = signal == Signal::TERM && !was_used;
            if self.wait(if at_once { Duration::ZERO } else { timeout }).is_some() {
                break;
            }
            descendants.extend(self.shell.descendants());
            // The shell first: it would start the next command of a list when this one ends.
            self.shell.signal(signal);
            for descendant in &descendants {
                let _ = pidfd_send_signal(descendant, signal); // fails once it has exited, or runs as another user
            }
        }
        self.wait(timeout);
        let deadline = Deadline::within(timeout);
        for descendant in &descendants {
            if !wait_for(descendant.as_fd(), PollFlags::POLLIN, &deadline).unwrap_or(true) {
                let _ = pidfd_send_signal(descendant, Signal::KILL);
            }
        }
    }

    /// Closes the pipes of a command after the program has closed some of them. The command gets the end of its input and
    /// SIGTERM if no other process uses it. Waits `timeout` for that.
    pub(crate) fn close(self, timeout: Duration) {
        let Process { mut shell, stdin, stdout, _hangup, .. } = self;
        drop((stdin, stdout, _hangup));
        shell.wait(timeout);
    }

    /// Closes the input of the command, and terminates it unless another process still has the input open after
    /// `hangup_timeout`.
    pub(crate) fn release(mut self, hangup_timeout: Duration, exit_timeout: Duration) {
        let reader = self.stdin.take().map(|Stdin { reader, .. }| reader);
        // poll(2) reports POLLHUP once no write end is open. If the program has closed the read end, the command still gets
        // the end of its input and SIGTERM when the last process has closed its pipes.
        let is_last = reader.is_none_or(|reader| {
            reader.get().is_some_and(|reader| {
                wait_for(reader, PollFlags::empty(), &Deadline::within(hangup_timeout)).unwrap_or(true)
            })
        });
        if is_last {
            self.terminate(exit_timeout);
        }
    }
}

#[cfg(test)]
impl Process {
    /// Returns a process that has exited, with these pipes in place of its own.
    pub(crate) fn with_pipes(
        writer: std::os::fd::OwnedFd,
        reader: std::os::fd::OwnedFd,
        stdout: std::os::fd::OwnedFd,
    ) -> io::Result<Process> {
        let shell = Shell::new(&Command::new("true").spawn()?)?;
        let (hangup, _) = HangupPipe::new()?;
        let stdin = Some(Stdin { writer: Kept::new(writer)?, reader: Kept::new(reader)? });
        Ok(Process { shell, stdin, stdout: Kept::new(stdout)?, _hangup: hangup, has_answered: false, sent: 0 })
    }
}
