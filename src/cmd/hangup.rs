// SPDX-License-Identifier: BSD-2-Clause
//! Terminates a command when the last process that uses it has exited or was killed, even if the command never reads its
//! standard input. [`HangupPipe`] is the write end of a pipe to which nobody writes. The command inherits the read end,
//! for which the kernel sends it SIGTERM once no write end is open any more (fcntl(2), `O_ASYNC`). The C module uses
//! `PR_SET_PDEATHSIG` instead, which fires when the thread that called Init exits; the program, or its children, may
//! outlive that thread by far.
#![forbid(unsafe_code)]

use crate::sys;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use rustix::process::Pid;
use std::io;
use std::os::fd::OwnedFd;
use tcti_core::kept::Kept;

/// The lowest file descriptor for the read end in the command: shell scripts use those below 10 themselves.
const ABOVE_SCRIPTS: i32 = 10;

/// The write end, held by each process that uses the command.
pub(crate) struct HangupPipe {
    _writer: Kept,
}

/// The read end, inherited by the command. Other programs that start at the same time may inherit it too; they cannot do
/// anything with it.
pub(crate) struct ReadEnd(OwnedFd);

impl HangupPipe {
    pub(crate) fn new() -> io::Result<(HangupPipe, ReadEnd)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let reader = sys::inheritable(&reader, ABOVE_SCRIPTS)?;
        Ok((HangupPipe { _writer: Kept::new(writer)? }, ReadEnd(reader)))
    }
}

impl ReadEnd {
    /// Asks the kernel to send `command` SIGTERM when the pipe hangs up. Called once the command has started. Where the
    /// system refuses, a command that reads its standard input still terminates at end of file.
    pub(crate) fn signal(self, command: Pid) {
        let requested = sys::set_owner(&self.0, command, nix::libc::SIGTERM)
            .and_then(|()| Ok(fcntl(&self.0, FcntlArg::F_SETFL(OFlag::O_ASYNC))?));
        if let Err(error) = requested {
            log::debug!("the command gets no signal when this process ends, only the end of its input: {error}");
        }
    }
}
