// SPDX-License-Identifier: BSD-2-Clause
//! Ends a command with the last process that has it, also one that was killed, and a command that never reads its input.
//! [`Lifeline`] is the writing end of a pipe to which nobody writes. The command inherits the reading end, for which the
//! kernel sends it SIGTERM when nobody has the writing end any more (fcntl(2), `O_ASYNC`). The C module has the kernel send
//! it when the thread ends that called Init (`PR_SET_PDEATHSIG`), which a program may long outlive, as may its children.
#![forbid(unsafe_code)]

use crate::sys;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use rustix::process::Pid;
use std::io;
use std::os::fd::OwnedFd;
use tcti_core::io::above_stdio;

/// Lowest number of the reading end in the command: shell scripts have those below for themselves.
const ABOVE_SCRIPTS: i32 = 10;

/// What a process holds of a command.
pub(crate) struct Lifeline {
    _writer: OwnedFd,
}

/// What the command inherits. Other programs that are started meanwhile may, too: they cannot do anything with it.
pub(crate) struct End(OwnedFd);

impl Lifeline {
    pub(crate) fn new() -> io::Result<(Lifeline, End)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let reader = sys::inheritable(&reader, ABOVE_SCRIPTS)?;
        Ok((Lifeline { _writer: above_stdio(writer)? }, End(reader)))
    }
}

impl End {
    /// To be called when the command has been started. Where the system cannot do it, a command still ends that reads.
    pub(crate) fn tie(self, command: Pid) {
        let is_tied = sys::send_to(&self.0, command, nix::libc::SIGTERM)
            .and_then(|()| Ok(fcntl(&self.0, FcntlArg::F_SETFL(OFlag::O_ASYNC))?));
        if let Err(error) = is_tied {
            log::debug!("the command is not told when this process ends, other than by its input: {error}");
        }
    }
}
