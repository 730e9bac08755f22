// SPDX-License-Identifier: BSD-2-Clause
//! The transport [`Cmd`] runs a command: it writes TPM commands to the command's standard input and reads responses from
//! its standard output.

mod below;
mod hangup;
mod process;
mod resync;
mod shell;
mod sys;

use process::{EXIT_TIMEOUT, Process, SHORT_EXIT_TIMEOUT, WRITE_TIMEOUT};
use std::io;
use std::mem;
use std::path::PathBuf;
use std::time::Duration;
use tcti_core::io::Arrival;
use tcti_core::visible::visible;
use tcti_core::{
    Conf, Deadline, Error, GetPollHandles, Inheritance, LastExchange, Module, Open, Progress, Result, ReturnCode,
    RxBuf, Sharing, Transport, Wait, fail,
};

/// A command, which need not be UTF-8, and its process while it runs.
pub struct Cmd {
    command: PathBuf,
    process: Option<Process>,
    /// Whether the process has replaced an earlier one since `took_own_connection` was last called.
    took_own_connection: bool,
}

impl Cmd {
    fn terminate(&mut self, timeout: Duration) {
        if let Some(process) = self.process.take() {
            process.terminate(timeout);
        }
    }

    /// Closes the command's input, and terminates the command if no other process uses it.
    fn release(&mut self, hangup_timeout: Duration) {
        if let Some(process) = self.process.take() {
            process.release(hangup_timeout, EXIT_TIMEOUT);
        }
    }

    /// Starts the command, in place of the previous process if there is one.
    fn start(&mut self) -> Result<()> {
        self.terminate(SHORT_EXIT_TIMEOUT);
        let process = Process::spawn(&self.command).map_err(|error| {
            let is_short_of_memory = error.raw_os_error() == Some(nix::libc::ENOMEM);
            let code = if is_short_of_memory { ReturnCode::MEMORY } else { ReturnCode::IO_ERROR };
            fail!(code, "cannot start /bin/sh for the command \"{}\": {error}", visible(&self.command))
        })?;
        self.process = Some(process);
        self.took_own_connection = true;
        Ok(())
    }

    /// Restarts a command that exited between two TPM commands, as ssh does when its connection is idle, and sends it the
    /// TPM command that its predecessor did not read. Returns `false` if the command exited at another point.
    fn restart_if_idle(&mut self) -> Result<bool> {
        let exited = self.process.as_ref().filter(|process| process.has_answered);
        let Some(command) = exited.and_then(Process::take_unread) else { return Ok(false) };
        self.start()?;
        self.write(&command)?;
        Ok(true)
    }

    fn write(&mut self, command: &[u8]) -> Result<()> {
        let Some(process) = &mut self.process else { return Err(ReturnCode::IO_ERROR.into()) };
        process.write(command).map_err(|error| {
            let reason = match error.kind() {
                io::ErrorKind::TimedOut => format!("it has not read its input for {} s", WRITE_TIMEOUT.as_secs()),
                _ => error.to_string(),
            };
            fail!(ReturnCode::IO_ERROR, "cannot send to the command \"{}\": {reason}", visible(&self.command))
        })
    }

    /// Makes the error for an output that ends before the response does.
    fn output_ended(&mut self, rx: &RxBuf, deadline: &Deadline) -> Error {
        let timeout = deadline.remaining().map_or(EXIT_TIMEOUT, |left| left.clamp(SHORT_EXIT_TIMEOUT, EXIT_TIMEOUT));
        let status = self.process.as_mut().and_then(|process| process.wait(timeout));
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
            visible(&self.command),
            rx.len()
        )
    }
}

/// Releases the command even where `close` was not called: the pipe tells whether other processes still use it.
impl Drop for Cmd {
    fn drop(&mut self) {
        self.release(Duration::ZERO);
        shell::reap();
    }
}

impl Module for Cmd {
    /// The magic of the C module, which is also that of mssim.
    const MAGIC: u64 = 0xf05b_04cd_9f02_728d;
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
        // Unsolicited output would be taken for the response.
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
                Arrival::End if rx.is_empty() && self.restart_if_idle()? => {}
                Arrival::End => return Err(self.output_ended(rx, &deadline)),
            }
        }
        if let Some(process) = &mut self.process {
            process.has_answered = true;
            process.sent = 0;
        }
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {
        self.terminate(SHORT_EXIT_TIMEOUT);
    }

    fn after_fork(&mut self, inheritance: Inheritance) {
        match (inheritance, &mut self.process) {
            (Inheritance::Shared, Some(process)) => process.sent = 0,
            (Inheritance::Shared, None) => {}
            (Inheritance::Copies, process) => *process = None,
        }
    }

    fn drop_closed(&mut self) -> bool {
        let closed = self.process.take_if(|process| !process.is_open());
        closed.map(|process| process.close(SHORT_EXIT_TIMEOUT)).is_some()
    }

    fn is_shared(&self) -> bool {
        true
    }

    /// Returns whether the command was restarted: when a shared command exits, each process starts its own.
    fn took_own_connection(&mut self) -> bool {
        mem::take(&mut self.took_own_connection)
    }

    fn resume(&mut self, last: LastExchange) -> Result<()> {
        let in_sync = match last {
            LastExchange::Ours | LastExchange::Theirs => true,
            LastExchange::Interrupted => self.process.as_mut().is_none_or(resync::resync),
        };
        if !in_sync {
            log::warn!(
                "a TPM command was interrupted, and its response cannot be told from later ones. The command \"{}\" is \
                 restarted; keys and sessions loaded through it may be lost",
                visible(&self.command)
            );
            self.terminate(SHORT_EXIT_TIMEOUT);
        }
        Ok(())
    }

    /// Waits a little for the pipe to hang up: a program that the host starts has a copy of it between fork and exec.
    fn close(&mut self, sharing: Sharing) {
        self.release(if sharing == Sharing::Exclusive { SHORT_EXIT_TIMEOUT } else { Duration::ZERO });
    }

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|cmd, watch| {
        cmd.process.iter().map(Process::poll_handle).for_each(watch);
        Ok(())
    });
}

#[cfg(test)]
mod tests;
