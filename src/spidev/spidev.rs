// SPDX-License-Identifier: BSD-2-Clause
//! The bus [`Spidev`] uses the spidev driver of Linux (Linux `Documentation/spi/spidev.rst`). The driver keeps the TPM
//! selected after a transfer on request, so header, wait states and data are separate transfers. No other program may use
//! the bus in between; the driver has no lock for that.

mod sys;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use tcti_core::kept::Kept;
use tcti_core::visible::visible;
use tcti_core::{Conf, Result, ReturnCode, fail};
use tcti_diagnosis as diagnosis;
use tcti_tis::{Bus, ChipSelect, Clock, OpenBus, SystemClock, Transfer};

const DEFAULT: &str = "/dev/spidev0.1";

/// The mode of a TPM (PTP, SPI interface): clock idle low, data valid at the rising edge.
const SPI_MODE_0: u8 = 0;
const BITS_PER_WORD: u8 = 8;
/// As in the C module. A TPM supports at least 10 MHz; the wiring may not.
const MAX_SPEED_HZ: u32 = 5_000_000;

/// The advice for a device that does not exist or is not one of spidev.
const REMEDY: &str = "Switch SPI on (on a Raspberry Pi: dtparam=spi=on in config.txt), load the module spidev, and \
                      name the device of the TPM's chip select; ls /dev/spidev* shows what there is";

/// A spidev device.
pub struct Spidev {
    path: PathBuf,
    /// Absent once the program has closed it, until the next command.
    fd: Option<Kept>,
    clock: SystemClock,
    /// Whether the last transfer left the TPM selected.
    selected: bool,
}

impl Spidev {
    fn open_path(path: &Path) -> Result<Spidev> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let opened = open(path, flags, Mode::empty())
            .and_then(|fd| Kept::new(fd).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default())));
        let fd = opened.map_err(|error| match diagnosis::is_denial(error) {
            true => fail!(
                ReturnCode::NOT_PERMITTED,
                "cannot open {}. Add yourself to the group that owns it, often spi: usermod -a -G GROUP USER, then log \
                 in again",
                diagnosis::reason(path, error)
            ),
            false => fail!(ReturnCode::IO_ERROR, "cannot open {}. {REMEDY}", diagnosis::reason(path, error)),
        })?;
        let kind = diagnosis::kind(fd.as_fd());
        if kind != diagnosis::CHARACTER_DEVICE {
            return Err(fail!(
                ReturnCode::IO_ERROR,
                "{} is {kind}, not a spidev device such as {DEFAULT}. {REMEDY}",
                visible(path)
            ));
        }
        let spidev = Spidev { path: path.to_owned(), fd: Some(fd), clock: SystemClock::new(), selected: false };
        spidev.set_up()?;
        Ok(spidev)
    }

    fn set_up(&self) -> Result<()> {
        let Some(fd) = self.fd.as_ref().map(AsFd::as_fd) else { return Err(ReturnCode::IO_ERROR.into()) };
        let path = || visible(&self.path);
        sys::set_mode(fd, SPI_MODE_0).map_err(|error| match error {
            Errno::ENOTTY => fail!(ReturnCode::IO_ERROR, "{} is a device, but not one of spidev. {REMEDY}", path()),
            _ => fail!(ReturnCode::IO_ERROR, "{} does not do SPI mode {SPI_MODE_0}: {}", path(), error.desc()),
        })?;
        sys::set_bits_per_word(fd, BITS_PER_WORD).map_err(|error| {
            fail!(ReturnCode::IO_ERROR, "{} does not do {BITS_PER_WORD} bits: {}", path(), error.desc())
        })?;
        sys::set_max_speed(fd, MAX_SPEED_HZ)
            .map_err(|error| fail!(ReturnCode::IO_ERROR, "{} does not do {MAX_SPEED_HZ} Hz: {}", path(), error.desc()))
    }

    fn message(&mut self, transfer: Transfer<'_>, stay_selected: bool) -> Result<()> {
        let count = transfer.len();
        let Some(fd) = self.fd.as_ref() else { return Err(ReturnCode::IO_ERROR.into()) };
        let sent = sys::transfer(fd.as_fd(), transfer.out, transfer.into, stay_selected);
        // The driver deselects the TPM after a failed message.
        self.selected = stay_selected && sent.is_ok();
        sent.map_err(|error| {
            fail!(ReturnCode::IO_ERROR, "cannot transfer {count} bytes on {}: {}", visible(&self.path), error.desc())
        })
    }
}

impl OpenBus for Spidev {
    fn open(conf: Conf<'_>) -> Result<Spidev> {
        Spidev::open_path(conf.path().unwrap_or(Path::new(DEFAULT)))
    }
}

impl Bus for Spidev {
    fn transfer(&mut self, transfer: Transfer<'_>) -> Result<()> {
        let stay_selected = !transfer.last;
        self.message(transfer, stay_selected)
    }

    fn clock(&mut self) -> &mut dyn Clock {
        &mut self.clock
    }

    fn chip_select(&self) -> ChipSelect {
        ChipSelect::Held
    }

    fn begin_command(&mut self) -> Result<bool> {
        match self.fd {
            Some(_) => Ok(false),
            None => {
                *self = Spidev::open_path(&self.path)?;
                Ok(true)
            }
        }
    }

    fn drop_closed(&mut self) -> bool {
        self.fd.take_if(|fd| !fd.is_open()).is_some()
    }

    /// Deselects after a failed transaction; the last transfer of a complete one has deselected already.
    fn deselect(&mut self) -> Result<()> {
        match self.selected {
            true => self.message(Transfer { out: None, into: None, last: true }, false),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;
    use tcti_core::Open;
    use tcti_tis::Tis;

    fn refused(conf: &CStr) -> Option<ReturnCode> {
        Tis::<Spidev>::open(Conf::new(Some(conf))).err().map(|error| error.code())
    }

    #[test]
    fn a_missing_device_is_an_io_error() {
        assert_eq!(refused(c"/dev/no-such-spidev"), Some(ReturnCode::IO_ERROR));
    }

    #[test]
    fn a_file_that_is_not_a_device_is_an_io_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "").unwrap();
        let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        assert_eq!(refused(&path), Some(ReturnCode::IO_ERROR));
        assert_eq!(refused(c"/dev"), Some(ReturnCode::IO_ERROR));
    }

    #[test]
    fn a_device_of_another_driver_is_an_io_error() {
        assert_eq!(refused(c"/dev/null"), Some(ReturnCode::IO_ERROR));
        assert_eq!(refused(c"/dev/zero"), Some(ReturnCode::IO_ERROR));
    }
}
