// SPDX-License-Identifier: BSD-2-Clause
//! The transport [`Device`] uses the kernel's TPM driver: one write per command, one read per response (Linux
//! `drivers/char/tpm/tpm-dev-common.c`). The file descriptor is non-blocking, which makes the driver work in the
//! background; `watched` waits for it.
//!
//! The resource manager keeps keys and sessions per open file: closing the file descriptor loses everything that was loaded
//! through it. It therefore stays open after an error, unless the error ends the connection.
#![forbid(unsafe_code)]

mod driver;
mod watched;

use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use tcti_core::visible::visible;
use tcti_core::{
    Conf, Deadline, Error, GetPollHandles, Inheritance, LastExchange, Module, Open, Progress, Result, ReturnCode,
    RxBuf, Transport, Wait, fail, turns,
};
use tcti_diagnosis::{self as diagnosis, UnusableDevice};
use watched::WatchedDevice;

/// Tried in this order without a conf string. The resource manager comes first: several programs can share it.
const DEFAULTS: [&str; 4] = ["/dev/tpmrm0", "/dev/tpm0", "/dev/tcmrm0", "/dev/tcm0"];

/// A TPM character device.
pub struct Device {
    path: PathBuf,
    /// Absent after an error that ended the connection, until the next command.
    watched: Option<WatchedDevice>,
}

impl Device {
    /// Opens the first default device that works; if none does, the error names them all.
    fn open_default() -> Result<Device> {
        let mut failures = Vec::new();
        for path in DEFAULTS.map(Path::new) {
            match open(path) {
                Ok(watched) => return Ok(Device { path: path.to_owned(), watched: Some(watched) }),
                Err(failure) => failures.push(failure),
            }
        }
        let reasons: Vec<String> = failures.iter().map(UnusableDevice::reason).collect();
        Err(fail!(code(&failures), "no TPM device opens: {}. {}", reasons.join("; "), diagnosis::remedy(&failures)))
    }

    fn watched(&mut self) -> Result<&mut WatchedDevice> {
        match &mut self.watched {
            Some(watched) => Ok(watched),
            closed => {
                let watched = open(&self.path).map_err(|failure| {
                    let failures = [failure];
                    let [failure] = &failures;
                    fail!(code(&failures), "cannot open {}. {}", failure.reason(), diagnosis::remedy(&failures))
                })?;
                Ok(closed.insert(watched))
            }
        }
    }

    /// Makes the error for a failed exchange, and closes the device if the error ends the connection.
    fn failed(&mut self, what: &str, error: Errno, meaning: &str) -> Error {
        let is_lost = self.watched.take_if(|watched| watched.is_fatal(error)).is_some();
        let loss = match is_lost {
            true => ". What was loaded through this connection is lost; the next command reopens the device",
            false => "",
        };
        fail!(ReturnCode::IO_ERROR, "cannot {what} {}: {meaning}{loss}", visible(&self.path))
    }
}

/// Opens a device and checks that it is a TPM 2.0.
fn open(path: &Path) -> core::result::Result<WatchedDevice, UnusableDevice> {
    let watched = WatchedDevice::open(path).map_err(|error| UnusableDevice::system(path, error))?;
    diagnosis::check(path, watched.as_fd())?;
    Ok(watched)
}

fn code(failures: &[UnusableDevice]) -> ReturnCode {
    match failures.iter().any(UnusableDevice::is_denial) {
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
        let mut device = Device { path: path.to_owned(), watched: None };
        device.watched()?;
        Ok(device)
    }
}

impl Transport for Device {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        if self.watched()?.drop_reported().is_err() {
            self.watched = None;
        }
        let watched = self.watched()?;
        let deadline = Deadline::within(turns::RESUME_TIMEOUT);
        let sent = loop {
            match watched.write(command) {
                // An interrupted exchange, of any process that shares the device, has left its response or is in progress.
                Err(Errno::EBUSY)
                    if !deadline.has_passed() && (watched.drop_response() || watched.wait(&deadline)?) => {}
                sent => break sent,
            }
        };
        match sent {
            Ok(count) if count == command.len() => Ok(()),
            Ok(count) => Err(fail!(
                ReturnCode::IO_ERROR,
                "{} took {count} bytes of a command of {}",
                visible(&self.path),
                command.len()
            )),
            Err(error) => {
                let what = format!("send a command of {} bytes to", command.len());
                Err(self.failed(&what, error, &driver::refusal(error)))
            }
        }
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let Some(watched) = &mut self.watched else { return Err(ReturnCode::BAD_SEQUENCE.into()) };
        let deadline = Deadline::after(wait);
        loop {
            match watched.wait(&deadline) {
                Ok(true) => {}
                Ok(false) => return Ok(Progress::Pending),
                Err(error) => {
                    self.watched = None; // the program has closed the epoll instance
                    return Err(error);
                }
            }
            // Before Linux 5.0 the driver drops the rest of a response that is not read at once, so the buffer has room
            // for the largest response.
            match rx.read_with(|room| watched.read(room))? {
                // Nothing to read and no command in progress: the response is lost.
                Ok(0) if rx.is_empty() && !watched.is_busy() => {
                    return Err(fail!(
                        ReturnCode::NO_CONNECTION,
                        "{} has no response: it went away, or nobody read the response for the 120 seconds that the \
                         driver keeps it",
                        visible(&self.path)
                    ));
                }
                // The event belonged to an earlier response; the driver reports the next one again.
                Ok(0) if rx.is_empty() => {}
                Err(Errno::EAGAIN) if watched.is_watched() => {}
                Ok(count) if count == 0 || rx.missing()? == 0 => {
                    watched.succeeded();
                    return Ok(Progress::Complete);
                }
                Ok(_) => {}
                Err(error) => return Err(self.failed("read the response from", error, &driver::failure(error))),
            }
        }
    }

    /// Does nothing: `resume` drops the rest before the next command.
    fn abandon(&mut self) {}

    /// Drops the response to an interrupted exchange.
    fn resume(&mut self, last: LastExchange) -> Result<()> {
        if let (LastExchange::Interrupted, Some(watched)) = (last, &self.watched) {
            watched.drop_unreported();
        }
        Ok(())
    }

    /// Keeps a shared file descriptor: the resource manager has loaded the keys for it.
    fn after_fork(&mut self, inheritance: Inheritance) {
        match inheritance {
            Inheritance::Shared => {}
            Inheritance::Copies => self.watched = None,
        }
    }

    fn drop_closed(&mut self) -> bool {
        self.watched.take_if(|watched| !watched.is_open()).is_some()
    }

    fn is_shared(&self) -> bool {
        true
    }

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|device, watch| {
        device.watched.iter().for_each(|watched| watch(watched.poll_handle().as_raw_fd()));
        Ok(())
    });
}

#[cfg(test)]
mod tests;
