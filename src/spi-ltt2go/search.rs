// SPDX-License-Identifier: BSD-2-Clause
//! Which stick is meant: the first that opens and whose serial number matches. When none does, one message says what
//! is wrong with each.
#![forbid(unsafe_code)]

use crate::bridge::Find;
use crate::lease::{Lease, Leases, Takeover};
use crate::posix_regex::PosixRegex;
use crate::stick::{OpenStick, UsbStick};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use rusb::{Context, Device, DeviceDescriptor, Error, UsbContext};
use std::fs;
use std::path::PathBuf;
use tcti_core::io::hold_stdio;
use tcti_core::{Conf, Result, ReturnCode, fail};
use tcti_diagnosis as diagnosis;

/// As the C module has it: pi3g, LetsTrust-TPM2Go.
const VENDOR: u16 = 0x365d;
const PRODUCT: u16 = 0x1337;

/// A context of our own. libusb has a thread that watches for devices; it is born with all signals blocked, so that it
/// gets none of the program's.
fn context() -> rusb::Result<Context> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|_| Error::Other)?;
    let context = Context::new();
    before.thread_set_mask().map_err(|_| Error::Other)?;
    context
}

/// The sticks that contexts of this process have.
static LEASES: Leases<UsbStick> = Leases::new();

/// Claims a stick, or takes it over when a context of this process has it.
fn claim(device: &Device<Context>, opened: OpenStick) -> core::result::Result<Lease<UsbStick>, (Cause, String)> {
    let place = (device.bus_number(), device.address());
    match opened.claim() {
        Ok(stick) => Ok(LEASES.lease(stick, place)),
        Err(Error::Busy) => match LEASES.take_over(place) {
            Takeover::Taken(lease) => Ok(lease),
            Takeover::AtWork => Err((Cause::Busy, format!("{} is at work for this program", path(device).display()))),
            Takeover::Inherited => {
                let path = path(device);
                Err((
                    Cause::Inherited,
                    format!("{} is claimed by the process that this one was forked from", path.display()),
                ))
            }
            Takeover::NotHere => Err((Cause::Busy, reason(device, Error::Busy))),
        },
        Err(error) => Err((Cause::of(error), reason(device, error))),
    }
}

/// The stick in usbfs, as in messages about other devices.
fn path(device: &Device<Context>) -> PathBuf {
    PathBuf::from(format!("/dev/bus/usb/{:03}/{:03}", device.bus_number(), device.address()))
}

/// What the kernel read when the stick was plugged in. That takes no rights.
fn known_serial(device: &Device<Context>) -> Option<String> {
    let ports: Vec<String> = device.port_numbers().ok()?.iter().map(u8::to_string).collect();
    let path = format!("/sys/bus/usb/devices/{}-{}/serial", device.bus_number(), ports.join("."));
    fs::read_to_string(path).ok().map(|serial| serial.trim_end_matches('\n').to_owned())
}

/// The stick that a configuration string means.
pub struct Search {
    serial: Option<PosixRegex>,
}

/// Why a stick does not open, the nearest to success last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// Its serial number is not the wanted one.
    Serial,
    Broken,
    Busy,
    /// It is open in a process that this one was forked from.
    Inherited,
    Denied,
}

impl Cause {
    fn of(error: Error) -> Cause {
        match error {
            Error::Access => Cause::Denied,
            Error::Busy => Cause::Busy,
            _ => Cause::Broken,
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Cause::Serial => "Plug that stick in, or correct the serial number",
            Cause::Broken => "Unplug it and plug it in again",
            Cause::Busy => "Wait for it or end it, or share the stick through tpm2-abrmd",
            Cause::Inherited => {
                "USB devices cannot be shared by fork: open the TCTI after the fork, in the process that uses it"
            }
            Cause::Denied => {
                "Install the udev rules that give the stick to group tss and to the user at the seat, then plug it in \
                 again; or add yourself to group tss (usermod -a -G tss USER, then log in anew)"
            }
        }
    }
}

/// What libusb said of a device, for a person.
fn reason(device: &Device<Context>, error: Error) -> String {
    let path = path(device);
    match error {
        Error::Access => diagnosis::reason(&path, Errno::EACCES),
        Error::Busy => format!("{} is in use by another program", path.display()),
        error => format!("{}: {error}", path.display()),
    }
}

impl Search {
    /// Opens a stick; `None`: it was unplugged just now.
    fn open(
        &self,
        device: &Device<Context>,
        descriptor: &DeviceDescriptor,
        same: Option<&str>,
    ) -> Option<core::result::Result<Lease<UsbStick>, (Cause, String)>> {
        let other = |serial: &str| Some(Err((Cause::Serial, format!("one has \"{serial}\""))));
        match OpenStick::open(device, descriptor) {
            Err(Error::NoDevice | Error::NotFound) => None,
            Err(error) => match known_serial(device) {
                Some(serial) if !self.is_wanted(&serial, same) => other(&serial),
                _ => Some(Err((Cause::of(error), reason(device, error)))),
            },
            Ok(opened) if !self.is_wanted(opened.serial(), same) => other(opened.serial()),
            Ok(opened) => Some(claim(device, opened)),
        }
    }

    /// Why none opens.
    fn none(&self, reasons: &[(Cause, String)], same: Option<&str>) -> tcti_core::Error {
        let wanted = match (same, &self.serial) {
            (Some(serial), _) => format!(" with the serial number \"{serial}\""),
            (None, Some(posix_regex)) => format!(" whose serial number matches \"{}\"", posix_regex.text()),
            (None, None) => String::new(),
        };
        let absent = if same.is_some() { ReturnCode::NO_CONNECTION } else { ReturnCode::IO_ERROR };
        let Some(nearest) = reasons.iter().map(|(cause, _)| *cause).max() else {
            return fail!(
                absent,
                "no LetsTrust-TPM2Go{wanted} is plugged in (lsusb -d {VENDOR:04x}:{PRODUCT:04x} lists them). Without \
                 one, use a simulator: TCTI swtpm or libtpms"
            );
        };
        let reasons: Vec<&str> = reasons.iter().map(|(_, reason)| reason.as_str()).collect();
        let code = match nearest {
            Cause::Denied => ReturnCode::NOT_PERMITTED,
            Cause::Serial => absent,
            Cause::Broken | Cause::Busy | Cause::Inherited => ReturnCode::IO_ERROR,
        };
        fail!(code, "no LetsTrust-TPM2Go{wanted} opens: {}. {}", reasons.join("; "), nearest.remedy())
    }

    fn is_wanted(&self, serial: &str, same: Option<&str>) -> bool {
        match same {
            Some(same) => serial == same,
            None => self.serial.as_ref().is_none_or(|posix_regex| posix_regex.matches(serial)),
        }
    }
}

impl Find for Search {
    type Stick = Lease<UsbStick>;

    fn parse(conf: Conf<'_>) -> Result<Search> {
        Ok(Search { serial: conf.c_str().map(PosixRegex::parse).transpose()? })
    }

    fn find(&self, same: Option<&str>) -> Result<Lease<UsbStick>> {
        let no_usb = |error| fail!(ReturnCode::IO_ERROR, "libusb does not start: {error}. Is /dev/bus/usb there?");
        let _held = hold_stdio();
        // A new one each time: it lists what is plugged in now.
        let devices = context().and_then(|context| context.devices()).map_err(no_usb)?;
        let mut reasons = Vec::new();
        for device in devices.iter() {
            let Ok(descriptor) = device.device_descriptor() else { continue };
            if (descriptor.vendor_id(), descriptor.product_id()) != (VENDOR, PRODUCT) {
                continue;
            }
            match self.open(&device, &descriptor, same) {
                Some(Ok(stick)) => return Ok(stick),
                Some(Err(reason)) => reasons.push(reason),
                None => {}
            }
        }
        Err(self.none(&reasons, same))
    }
}
