// SPDX-License-Identifier: BSD-2-Clause
//! Finds the stick, [`Search`]: the first that can be opened and whose serial number matches. If there is none, one message
//! gives the reason for each.
#![forbid(unsafe_code)]

use crate::bridge::Find;
use crate::lease::{Lease, Leases, Takeover};
use crate::pattern::Pattern;
use crate::stick::{OpenStick, UsbStick};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use rusb::{Context, Device, DeviceDescriptor, Error, UsbContext};
use std::fs;
use std::path::PathBuf;
use tcti_core::io::hold_stdio;
use tcti_core::{Conf, Result, ReturnCode, fail};
use tcti_diagnosis as diagnosis;

/// The USB IDs, as in the C module: pi3g, LetsTrust-TPM2Go.
const VENDOR: u16 = 0x365d;
const PRODUCT: u16 = 0x1337;

/// Makes a context of libusb. Its thread that watches for devices starts with all signals blocked, so that it receives none
/// of the program's.
fn context() -> rusb::Result<Context> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|_| Error::Other)?;
    let context = Context::new();
    before.thread_set_mask().map_err(|_| Error::Other)?;
    context
}

/// The sticks of this process.
static LEASES: Leases<UsbStick> = Leases::new();

/// Claims a stick, or takes it over from another context of this process.
fn claim(device: &Device<Context>, opened: OpenStick) -> core::result::Result<Lease<UsbStick>, (Cause, String)> {
    let address = (device.bus_number(), device.address());
    match opened.claim() {
        Ok(stick) => Ok(LEASES.lease(stick, address)),
        Err(Error::Busy) => match LEASES.take_over(address) {
            Takeover::Taken(lease) => Ok(lease),
            Takeover::InUse => {
                Err((Cause::Busy, format!("{} has a command of this program in progress", path(device).display())))
            }
            Takeover::Inherited => {
                let path = path(device);
                Err((
                    Cause::Inherited,
                    format!("{} is claimed by the process that this one was forked from", path.display()),
                ))
            }
            Takeover::NotLeased => Err((Cause::Busy, reason(device, Error::Busy))),
        },
        Err(error) => Err((Cause::of(error), reason(device, error))),
    }
}

/// Returns the path of the stick in usbfs, for messages.
fn path(device: &Device<Context>) -> PathBuf {
    PathBuf::from(format!("/dev/bus/usb/{:03}/{:03}", device.bus_number(), device.address()))
}

/// Returns the serial number that the kernel read when the stick was plugged in, which any user may read.
fn sysfs_serial(device: &Device<Context>) -> Option<String> {
    let ports: Vec<String> = device.port_numbers().ok()?.iter().map(u8::to_string).collect();
    let path = format!("/sys/bus/usb/devices/{}-{}/serial", device.bus_number(), ports.join("."));
    fs::read_to_string(path).ok().map(|serial| serial.trim_end_matches('\n').to_owned())
}

/// The criterion for a stick, from the configuration string.
pub struct Search {
    serial: Option<Pattern>,
}

/// Why a stick cannot be opened, ordered by how close to success it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// Its serial number does not match.
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
                 again; or add yourself to group tss (usermod -a -G tss USER, then log in again)"
            }
        }
    }
}

/// Describes an error of libusb for a device. If access is denied, this is only its path: [`Search::not_found`] looks its mode
/// and owner up if no other stick opens.
fn reason(device: &Device<Context>, error: Error) -> String {
    let path = path(device);
    match error {
        Error::Access => path.display().to_string(),
        Error::Busy => format!("{} is in use by another program", path.display()),
        error => format!("{}: {error}", path.display()),
    }
}

impl Search {
    /// Opens a stick; `None` if it was unplugged in the meantime.
    fn open(
        &self,
        device: &Device<Context>,
        descriptor: &DeviceDescriptor,
        same: Option<&str>,
    ) -> Option<core::result::Result<Lease<UsbStick>, (Cause, String)>> {
        let other = |serial: &str| Some(Err((Cause::Serial, format!("one has \"{serial}\""))));
        match OpenStick::open(device, descriptor) {
            Err(Error::NoDevice | Error::NotFound) => None,
            Err(error) => match sysfs_serial(device) {
                Some(serial) if !self.is_wanted(&serial, same) => other(&serial),
                _ => Some(Err((Cause::of(error), reason(device, error)))),
            },
            Ok(opened) if !self.is_wanted(opened.serial(), same) => other(opened.serial()),
            Ok(opened) => Some(claim(device, opened)),
        }
    }

    /// Makes the error when no stick could be opened.
    fn not_found(&self, reasons: &[(Cause, String)], same: Option<&str>) -> tcti_core::Error {
        let wanted = match (same, &self.serial) {
            (Some(serial), _) => format!(" with the serial number \"{serial}\""),
            (None, Some(pattern)) => format!(" whose serial number matches \"{}\"", pattern.text()),
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
        let show = |(cause, reason): &(Cause, String)| match cause {
            Cause::Denied => diagnosis::reason(reason.as_ref(), Errno::EACCES),
            _ => reason.clone(),
        };
        let reasons: Vec<String> = reasons.iter().map(show).collect();
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
            None => self.serial.as_ref().is_none_or(|pattern| pattern.matches(serial)),
        }
    }
}

impl Find for Search {
    type Stick = Lease<UsbStick>;

    fn parse(conf: Conf<'_>) -> Result<Search> {
        Ok(Search { serial: conf.c_str().map(Pattern::parse).transpose()? })
    }

    fn find(&self, same: Option<&str>) -> Result<Lease<UsbStick>> {
        let no_usb = |error| fail!(ReturnCode::IO_ERROR, "libusb does not start: {error}. Is /dev/bus/usb there?");
        let _stdio = hold_stdio();
        // A new context each time lists the devices that are plugged in now.
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
        Err(self.not_found(&reasons, same))
    }
}
