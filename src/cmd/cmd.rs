// SPDX-License-Identifier: BSD-2-Clause
//! A command as a transport: TPM commands go to its standard input, responses come from its standard output.

mod lifeline;
mod place;
mod process;
mod sys;

use process::{HASTE, PATIENCE, Process, WRITE_TIMEOUT};
use std::io;
use std::mem;
use std::path::PathBuf;
use std::time::Duration;
use tcti_core::io::Arrival;
use tcti_core::{
    Conf, Deadline, Error, GetPollHandles, Inheritance, LastExchange, Module, Open, Progress, Result, ReturnCode,
    RxBuf, Sharing, Transport, Wait, fail,
};

/// A command, which need not be UTF-8, and its process while it runs.
pub struct Cmd {
    command: PathBuf,
    process: Option<Process>,
    /// Whether the process was started in place of another one.
    took_own_connection: bool,
}

impl Cmd {
    fn end(&mut self, patience: Duration) {
        if let Some(process) = self.process.take() {
            process.stop(patience);
        }
    }

    /// Closes its input, and ends it with the last process that has it.
    fn leave(&mut self, haste: Duration) {
        if let Some(process) = self.process.take() {
            process.leave(haste, PATIENCE);
        }
    }

    /// Starts the command in place of one that ended.
    fn start(&mut self) -> Result<()> {
        self.end(HASTE);
        let process = Process::spawn(&self.command).map_err(|error| {
            fail!(ReturnCode::IO_ERROR, "cannot start /bin/sh for the command \"{}\": {error}", self.command.display())
        })?;
        self.process = Some(process);
        self.took_own_connection = true;
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
        let Some(process) = &mut self.process else { return Err(ReturnCode::IO_ERROR.into()) };
        process.write(command).map_err(|error| {
            let reason = match error.kind() {
                io::ErrorKind::TimedOut => format!("it does not read, for {} s", WRITE_TIMEOUT.as_secs()),
                _ => error.to_string(),
            };
            fail!(ReturnCode::IO_ERROR, "cannot send to the command \"{}\": {reason}", self.command.display())
        })
    }

    /// The error of a command that ended before its answer did.
    fn died(&mut self, rx: &RxBuf, deadline: &Deadline) -> Error {
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
            ReturnCode::IO_ERROR,
            "the command \"{}\" {how} after {} bytes of the response{hint}",
            self.command.display(),
            rx.len()
        )
    }
}

/// Also in a process that got no last turn: whether it is the last that can write to the command is seen at the pipe.
impl Drop for Cmd {
    fn drop(&mut self) {
        self.leave(Duration::ZERO);
    }
}

impl Module for Cmd {
    /// That of the C module, which is also mssim's.
    const MAGIC: u64 = 0xf05b_04cd_9f02_728d;
    const IDENTITY: u64 = 0x8a51_6fd0_2b7c_93e4;
}

impl Open for Cmd {
    fn open(conf: Conf<'_>) -> Result<Cmd> {
        let command = conf.path().ok_or_else(|| {
            fail!(ReturnCode::BAD_VALUE, "the TCTI cmd needs a command, such as \"cmd:ssh HOST tpm2_send\"")
        })?;
        let mut cmd = Cmd { command: command.into(), process: None, took_own_connection: false };
        cmd.start()?;
        cmd.took_own_connection = false;
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
            let Some(process) = &self.process else { return Err(ReturnCode::BAD_SEQUENCE.into()) };
            match process.read(rx, &deadline)? {
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

    fn after_fork(&mut self, inheritance: Inheritance) {
        match (inheritance, &mut self.process) {
            (Inheritance::Shared, Some(process)) => process.sent = 0,
            (Inheritance::Shared, None) => {}
            (Inheritance::Copies, process) => *process = None,
            (Inheritance::Nothing, process) => mem::forget(process.take()),
        }
    }

    fn is_shared(&self) -> bool {
        true
    }

    /// Of the processes that shared a command which ended each starts one for itself.
    fn took_own_connection(&mut self) -> bool {
        mem::take(&mut self.took_own_connection)
    }

    fn resume(&mut self, before: LastExchange) -> Result<()> {
        let in_step = match before {
            LastExchange::Ours | LastExchange::Theirs => true,
            LastExchange::Interrupted => self.process.as_mut().is_none_or(place::find),
        };
        if !in_step {
            log::warn!(
                "a TPM command broke off, and what its process left of it cannot be told from other responses. The command \
                 \"{}\" is started again; what was loaded through it may be lost",
                self.command.display()
            );
            self.end(HASTE);
        }
        Ok(())
    }

    /// A process that is being forked has a copy of its input until its exec.
    fn close(&mut self, company: Sharing) {
        self.leave(if company == Sharing::Exclusive { HASTE } else { Duration::ZERO });
    }

    const POLL_HANDLES: Option<GetPollHandles<Self>> =
        Some(|cmd| Ok(cmd.process.iter().map(Process::watched).collect()));
}

#[cfg(test)]
mod tests;
