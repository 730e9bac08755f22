// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's TPM driver as a transport: one write per command, one read per response (Linux
//! `drivers/char/tpm/tpm-dev-common.c`). The descriptor is non-blocking, which makes the driver work in the
//! background; how to learn that it is done is the part of `line`.
//!
//! The descriptor is the memory of the resource manager: whoever closes it loses every key that was loaded through it. It
//! stays open after an error, unless the error is the end of the connection.
#![forbid(unsafe_code)]

mod driver;
mod watched;

use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use tcti_core::{
    Conf, Deadline, Error, GetPollHandles, Inheritance, LastExchange, Module, Open, Progress, Result, ReturnCode,
    RxBuf, Transport, Wait, fail, turns,
};
use tcti_diagnosis::{self as diagnosis, Failure};
use watched::WatchedDevice;

/// Tried in this order without a conf string. The resource manager comes first: several programs can share it.
const DEFAULTS: [&str; 4] = ["/dev/tpmrm0", "/dev/tpm0", "/dev/tcmrm0", "/dev/tcm0"];

/// A TPM character device.
pub struct Device {
    path: PathBuf,
    /// Absent after an error that was the end of the connection, until the next command.
    line: Option<WatchedDevice>,
}

impl Device {
    /// The first default device that opens; if none does, one error that names them all.
    fn open_default() -> Result<Device> {
        let mut failures = Vec::new();
        for path in DEFAULTS.map(Path::new) {
            match open(path) {
                Ok(line) => return Ok(Device { path: path.to_owned(), line: Some(line) }),
                Err(failure) => failures.push(failure),
            }
        }
        let reasons: Vec<String> = failures.iter().map(Failure::reason).collect();
        Err(fail!(code(&failures), "no TPM device opens: {}. {}", reasons.join("; "), diagnosis::remedy(&failures)))
    }

    fn line(&mut self) -> Result<&mut WatchedDevice> {
        match &mut self.line {
            Some(line) => Ok(line),
            closed => {
                let line = open(&self.path).map_err(|failure| {
                    let failures = [failure];
                    let [failure] = &failures;
                    fail!(code(&failures), "cannot open {}. {}", failure.reason(), diagnosis::remedy(&failures))
                })?;
                Ok(closed.insert(line))
            }
        }
    }

    /// The end of an exchange. That of the connection, too, if the error means that; it is said here once.
    fn failed(&mut self, what: &str, error: Errno, meaning: &str) -> Error {
        let is_lost = self.line.take_if(|line| line.ends_with(error)).is_some();
        let loss = match is_lost {
            true => ". What was loaded through this connection is lost; the next command reopens the device",
            false => "",
        };
        fail!(ReturnCode::IO_ERROR, "cannot {what} {}: {meaning}{loss}", self.path.display())
    }
}

/// A device with a TPM 2.0.
fn open(path: &Path) -> core::result::Result<WatchedDevice, Failure> {
    let line = WatchedDevice::open(path).map_err(|error| Failure::system(path, error))?;
    diagnosis::check(path, line.as_fd())?;
    Ok(line)
}

fn code(failures: &[Failure]) -> ReturnCode {
    match failures.iter().any(Failure::is_denial) {
        true => ReturnCode::NOT_PERMITTED,
        false => ReturnCode::IO_ERROR,
    }
}

impl Module for Device {
    const MAGIC: u64 = 0x8920_5e72_e319_e5bb;
    const SIZE_OPTIONAL: bool = true;
}

impl Open for Device {
    fn open(conf: Conf<'_>) -> Result<Device> {
        let Some(path) = conf.path() else { return Device::open_default() };
        let mut device = Device { path: path.to_owned(), line: None };
        device.line()?;
        Ok(device)
    }
}

impl Transport for Device {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        let line = self.line()?;
        line.settle();
        let deadline = Deadline::within(turns::RESUME_PATIENCE);
        let sent = loop {
            match line.write(command) {
                // An exchange that broke off, of whoever shares the device, has its response here or is still under way.
                Err(Errno::EBUSY) if !deadline.has_passed() && (line.drop_response() || line.wait(&deadline)?) => {}
                sent => break sent,
            }
        };
        match sent {
            Ok(count) if count == command.len() => Ok(()),
            Ok(count) => Err(fail!(
                ReturnCode::IO_ERROR,
                "{} took {count} bytes of a command of {}",
                self.path.display(),
                command.len()
            )),
            Err(error) => {
                let what = format!("send a command of {} bytes to", command.len());
                Err(self.failed(&what, error, &driver::refusal(error)))
            }
        }
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let Some(line) = &mut self.line else { return Err(ReturnCode::BAD_SEQUENCE.into()) };
        let deadline = Deadline::after(wait);
        loop {
            if !line.wait(&deadline)? {
                return Ok(Progress::Pending);
            }
            // The driver drops the rest of a response that is not read in one go (before Linux 5.0), so the room is
            // for the largest there is.
            match rx.read_with(|room| line.read(room))? {
                // The report was of something earlier. What comes now is reported again.
                Ok(0) if rx.is_empty() && !line.is_busy() => {
                    return Err(fail!(
                        ReturnCode::NO_CONNECTION,
                        "{} has no response: it went away, or nobody read the response for the 120 seconds that the \
                         driver keeps it",
                        self.path.display()
                    ));
                }
                Ok(0) if rx.is_empty() => {}
                Err(Errno::EAGAIN) if line.is_watched() => {}
                Ok(count) if count == 0 || rx.missing()? == 0 => {
                    line.works();
                    return Ok(Progress::Complete);
                }
                Ok(_) => {}
                Err(error) => return Err(self.failed("read the response from", error, &driver::failure(error))),
            }
        }
    }

    /// What is left is read and dropped before the next command (`resume`).
    fn abandon(&mut self) {}

    /// Takes what is left of an exchange that broke off.
    fn resume(&mut self, before: LastExchange) -> Result<()> {
        if let (LastExchange::Interrupted, Some(line)) = (before, &self.line) {
            line.drop_unreported();
        }
        Ok(())
    }

    /// The descriptor is the memory of the driver's resource manager, so this process goes on with it.
    fn after_fork(&mut self, inheritance: Inheritance) {
        match inheritance {
            Inheritance::Shared => {}
            Inheritance::Copies => self.line = None,
            Inheritance::Nothing => std::mem::forget(self.line.take()),
        }
    }

    fn is_shared(&self) -> bool {
        true
    }

    const POLL_HANDLES: Option<GetPollHandles<Self>> =
        Some(|device| Ok(device.line.iter().map(|line| line.watched().as_raw_fd()).collect()));
}

#[cfg(test)]
mod tests;
