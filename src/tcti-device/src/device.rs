// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's TPM driver as a transport: one write per command, one read per response (Linux
//! `drivers/char/tpm/tpm-dev-common.c`). The descriptor is non-blocking, which makes the driver work in the
//! background; how to learn that it is done is the part of `line`.
#![forbid(unsafe_code)]

use crate::line::Line;
use nix::errno::Errno;
use nix::unistd::{read, write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use tcti_core::{Conf, Deadline, GetPollHandles, Open, Progress, Rc, Result, RxBuf, Transport, Wait, diagnosis, fail};

/// Tried in this order without a conf string. The resource manager comes first: several programs can share it.
const DEFAULTS: [&str; 4] = ["/dev/tpmrm0", "/dev/tpm0", "/dev/tcmrm0", "/dev/tcm0"];

/// A TPM character device.
pub(crate) struct Device {
    path: PathBuf,
    /// Absent after an exchange that failed, until the next command: closing makes the driver forget it.
    line: Option<Line>,
}

impl Device {
    /// The first default device that opens; if none does, one error that names them all.
    fn open_default() -> Result<Device> {
        let mut reasons = Vec::new();
        let mut errors = Vec::new();
        for path in DEFAULTS.map(Path::new) {
            match Line::open(path) {
                Ok(line) => return Ok(Device { path: path.to_owned(), line: Some(line) }),
                Err(error) => {
                    reasons.push(diagnosis::reason(path, error));
                    errors.push(error);
                }
            }
        }
        let remedy = diagnosis::remedy(&errors);
        Err(fail!(code(&errors), "no TPM device opens: {}. {remedy}", reasons.join("; ")))
    }

    fn line(&mut self) -> Result<&mut Line> {
        match &mut self.line {
            Some(line) => Ok(line),
            closed => {
                let line = Line::open(&self.path).map_err(|error| refused(&self.path, error))?;
                Ok(closed.insert(line))
            }
        }
    }
}

fn refused(path: &Path, error: Errno) -> Rc {
    let remedy = diagnosis::remedy(&[error]);
    fail!(code(&[error]), "cannot open {}. {remedy}", diagnosis::reason(path, error))
}

fn code(errors: &[Errno]) -> Rc {
    match errors.iter().any(|error| diagnosis::is_denial(*error)) {
        true => Rc::NOT_PERMITTED,
        false => Rc::IO_ERROR,
    }
}

impl Open for Device {
    const MAGIC: u64 = 0x8920_5e72_e319_e5bb;
    const SIZE_OPTIONAL: bool = true;

    fn open(conf: Conf<'_>) -> Result<Device> {
        let Some(path) = conf.path() else { return Device::open_default() };
        let mut device = Device { path: path.to_owned(), line: None };
        let kind = diagnosis::kind(device.line()?.as_fd());
        if kind != diagnosis::CHARACTER_DEVICE {
            return Err(fail!(
                Rc::IO_ERROR,
                "{} is {kind}, not a character device such as /dev/tpmrm0",
                path.display()
            ));
        }
        Ok(device)
    }
}

impl Transport for Device {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        let line = self.line()?;
        let sent = loop {
            match write(&*line, command) {
                Err(Errno::EINTR) => {}
                sent => break sent,
            }
        };
        match sent {
            Ok(count) if count == command.len() => Ok(()),
            Ok(count) => {
                Err(fail!(Rc::IO_ERROR, "{} took {count} bytes of a command of {}", self.path.display(), command.len()))
            }
            Err(error) => Err(fail!(
                Rc::IO_ERROR,
                "cannot send a command of {} bytes to {}: {}",
                command.len(),
                self.path.display(),
                diagnosis::of_write(error)
            )),
        }
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let Some(line) = &mut self.line else { return Err(Rc::BAD_SEQUENCE) };
        let deadline = Deadline::after(wait);
        loop {
            // Before its first byte the driver has to be polled; after it, an empty read is the end of the response.
            if rx.is_empty() && !line.wait(&deadline)? {
                return Ok(Progress::Pending);
            }
            // The driver drops the rest of a response that is not read in one go (before Linux 5.0), so the room is
            // for the largest there is.
            let count = loop {
                match rx.read_with(|room| read(&*line, room))? {
                    Err(Errno::EINTR) => {}
                    count => break count,
                }
            };
            match count {
                Ok(0) if rx.is_empty() => {
                    return Err(fail!(
                        Rc::NO_CONNECTION,
                        "{} has no response: it went away, or nobody read the response for the 120 seconds that the \
                         driver keeps it",
                        self.path.display()
                    ));
                }
                Ok(count) if count == 0 || rx.missing()? == 0 => return Ok(Progress::Complete),
                Ok(_) => {}
                // One read for each report: of two waits in a row the second would wait for another one.
                Err(Errno::EAGAIN) if rx.is_empty() => {}
                Err(Errno::EAGAIN) => {
                    if !line.wait(&deadline)? {
                        return Ok(Progress::Pending);
                    }
                }
                Err(error) => {
                    return Err(fail!(
                        Rc::IO_ERROR,
                        "cannot read the response from {}: {}",
                        self.path.display(),
                        diagnosis::of_read(error)
                    ));
                }
            }
        }
    }

    fn abandon(&mut self) {
        self.line = None;
    }

    /// The descriptor is the memory of the driver's resource manager, so this process goes on with it.
    fn inherited(&mut self) {}

    fn is_shared(&self) -> bool {
        true
    }

    const POLL_HANDLES: Option<GetPollHandles<Self>> =
        Some(|device| Ok(device.line.iter().map(|line| line.watched().as_raw_fd()).collect()));
}

#[cfg(test)]
mod tests;
