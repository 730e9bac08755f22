// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's TPM driver as a transport: one write per command, one read per response (Linux
//! `drivers/char/tpm/tpm-dev-common.c`). The descriptor is non-blocking, which makes the driver work in the
//! background and `poll(2)` tell when it is done.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::PollFlags;
use nix::sys::stat::Mode;
use nix::unistd::{read, write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use tcti_core::io::{above_stdio, wait_for};
use tcti_core::{
    Conf, Deadline, GetPollHandles, Open, PollHandle, Progress, Rc, Result, RxBuf, Transport, Wait, diagnosis, fail,
};

/// Tried in this order without a conf string. The resource manager comes first: several programs can share it.
const DEFAULTS: [&str; 4] = ["/dev/tpmrm0", "/dev/tpm0", "/dev/tcmrm0", "/dev/tcm0"];

/// A TPM character device.
pub(crate) struct Device {
    path: PathBuf,
    /// Absent after an exchange that failed, until the next command: closing makes the driver forget it.
    fd: Option<OwnedFd>,
}

impl Device {
    fn open_path(path: &Path) -> core::result::Result<OwnedFd, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let fd = open(path, flags, Mode::empty())?;
        above_stdio(fd).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
    }

    /// The first default device that opens; if none does, one error that names them all.
    fn open_default() -> Result<Device> {
        let mut reasons = Vec::new();
        let mut errors = Vec::new();
        for path in DEFAULTS.map(Path::new) {
            match Device::open_path(path) {
                Ok(fd) => return Ok(Device { path: path.to_owned(), fd: Some(fd) }),
                Err(error) => {
                    reasons.push(diagnosis::reason(path, error));
                    errors.push(error);
                }
            }
        }
        let remedy = diagnosis::remedy(&errors);
        Err(fail!(code(&errors), "no TPM device opens: {}. {remedy}", reasons.join("; ")))
    }

    fn fd(&mut self) -> Result<&OwnedFd> {
        match &mut self.fd {
            Some(fd) => Ok(fd),
            closed => {
                let fd = Device::open_path(&self.path).map_err(|error| refused(&self.path, error))?;
                Ok(closed.insert(fd))
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
        let mut device = Device { path: path.to_owned(), fd: None };
        let fd = device.fd()?;
        let kind = diagnosis::kind(fd.as_fd());
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
        let fd = self.fd()?;
        let sent = loop {
            match write(fd, command) {
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
        let Some(fd) = &self.fd else { return Err(Rc::BAD_SEQUENCE) };
        let deadline = Deadline::after(wait);
        loop {
            // Before its first byte the driver has to be polled; after it, an empty read is the end of the response.
            if rx.is_empty() && !wait_for(fd.as_fd(), PollFlags::POLLIN, &deadline)? {
                return Ok(Progress::Pending);
            }
            // The driver drops the rest of a response that is not read in one go (before Linux 5.0), so the room is
            // for the largest there is.
            match rx.read_with(|room| read(fd, room)) {
                Ok(0) if rx.is_empty() => {
                    return Err(fail!(Rc::NO_CONNECTION, "{} went away: end of file", self.path.display()));
                }
                Ok(0) => return Ok(Progress::Complete),
                Ok(_) if rx.missing()? == 0 => return Ok(Progress::Complete),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    if !wait_for(fd.as_fd(), PollFlags::POLLIN, &deadline)? {
                        return Ok(Progress::Pending);
                    }
                }
                Err(error) => {
                    return Err(fail!(
                        Rc::IO_ERROR,
                        "cannot read the response from {}: {}",
                        self.path.display(),
                        error.desc()
                    ));
                }
            }
        }
    }

    fn abandon(&mut self) {
        self.fd = None;
    }

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|device| {
        let fd = device.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        Ok(vec![PollHandle { fd, events: 0, revents: 0 }])
    });
}

#[cfg(test)]
mod tests;
