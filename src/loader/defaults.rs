// SPDX-License-Identifier: BSD-2-Clause
//! The defaults that are tried without a name: [`open`]. Nothing is logged in between; if all fail, one error states the reason
//! for each.

use crate::local;
use crate::sys::{Child, Module};
use core::ffi::CStr;
use nix::errno::Errno;
use std::env;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tcti_core::io::runs_with_foreign_rights;
use tcti_core::{Result, ReturnCode, fail};
use tcti_diagnosis::{self as diagnosis, UnusableDevice};

/// One of the defaults to try.
struct Candidate {
    library: &'static CStr,
    requires: Requirement,
}

/// What a default needs. It is checked before the library is loaded, because the library would print an error.
enum Requirement {
    /// Unknown: only the library can check it.
    Unknown,
    /// The D-Bus system bus.
    SystemBus,
    /// A character device.
    Device(&'static CStr),
    /// A simulator at its default address.
    Simulator,
}

const DEVICE: &CStr = c"libtss2-tcti-device.so.0";

/// The defaults in the order in which they are tried.
const DEFAULTS: [Candidate; 7] = [
    Candidate { library: c"libtss2-tcti-default.so", requires: Requirement::Unknown },
    Candidate { library: c"libtss2-tcti-tabrmd.so.0", requires: Requirement::SystemBus },
    Candidate { library: DEVICE, requires: Requirement::Device(c"/dev/tpmrm0") },
    Candidate { library: DEVICE, requires: Requirement::Device(c"/dev/tpm0") },
    Candidate { library: DEVICE, requires: Requirement::Device(c"/dev/tcm0") },
    Candidate { library: c"libtss2-tcti-swtpm.so.0", requires: Requirement::Simulator },
    Candidate { library: c"libtss2-tcti-mssim.so.0", requires: Requirement::Simulator },
];

impl Candidate {
    /// Opens this default. Adds a device that does not open to `devices`, for the advice in the error message.
    fn open(&self, devices: &mut Vec<UnusableDevice>) -> Result<Child> {
        self.requires.probe(devices)?;
        let module = self.load()?;
        // The library would try the defaults, too, in an endless recursion.
        if module.is_this_library() {
            return Err(fail!(ReturnCode::IO_ERROR, "{} is this library itself", self.library.to_string_lossy()));
        }
        let conf = match self.requires {
            Requirement::Device(path) => Some(path),
            Requirement::Unknown | Requirement::SystemBus | Requirement::Simulator => None,
        };
        module
            .open(conf)
            .map_err(|error| fail!(ReturnCode::IO_ERROR, "{} does not open ({error})", self.library.to_string_lossy()))
    }

    fn load(&self) -> Result<Module> {
        Module::load(self.library)?
            .ok_or_else(|| fail!(ReturnCode::NOT_SUPPORTED, "{} is not installed", self.library.to_string_lossy()))
    }
}

impl Requirement {
    fn probe(&self, devices: &mut Vec<UnusableDevice>) -> Result<()> {
        match self {
            Requirement::Unknown => Ok(()),
            Requirement::SystemBus => probe_system_bus(),
            Requirement::Device(path) => {
                probe_device(Path::new(OsStr::from_bytes(path.to_bytes()))).map_err(|failure| {
                    let error = fail!(ReturnCode::IO_ERROR, "{}", failure.reason());
                    devices.push(failure);
                    error
                })
            }
            Requirement::Simulator => local::probe_simulator(),
        }
    }
}

/// The default address of the system bus (D-Bus specification, "Well-known Message Bus Instances").
const SYSTEM_BUS: &str = "/var/run/dbus/system_bus_socket";

fn probe_system_bus() -> Result<()> {
    let address = env::var_os("DBUS_SYSTEM_BUS_ADDRESS").filter(|_| !runs_with_foreign_rights());
    match address.is_some() || Path::new(SYSTEM_BUS).exists() {
        true => Ok(()),
        false => Err(fail!(ReturnCode::IO_ERROR, "tabrmd: no D-Bus system bus is running")),
    }
}

fn probe_device(path: &Path) -> core::result::Result<(), UnusableDevice> {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    match opened {
        Ok(device) => diagnosis::check(path, device.as_fd()),
        Err(error) => Err(UnusableDevice::system(path, Errno::from_raw(error.raw_os_error().unwrap_or_default()))),
    }
}

/// Opens the first default that opens. Fails with `IO_ERROR` if none does.
pub(crate) fn open() -> Result<Child> {
    let mut reasons: Vec<String> = Vec::new();
    let mut devices = Vec::new();
    for candidate in &DEFAULTS {
        match candidate.open(&mut devices) {
            Ok(child) => {
                let before = if reasons.is_empty() { "no".to_owned() } else { reasons.join("; ") };
                log::info!("the TCTI is the default {}; tried before: {before}", child.file());
                return Ok(child);
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    reasons.dedup();
    Err(fail!(
        ReturnCode::IO_ERROR,
        "no TCTI was specified and no default could be opened: {}. {}",
        reasons.join("; "),
        diagnosis::remedy(&devices)
    ))
}

/// Loads the first default whose library loads. Fails with `NOT_SUPPORTED` if none does.
pub(crate) fn load() -> Result<Module> {
    let mut reasons = Vec::new();
    for candidate in &DEFAULTS {
        match candidate.load() {
            Ok(module) => return Ok(module),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    reasons.dedup();
    // The caller only queries information, so this is not worth an error in the log.
    log::info!("no library of a default TCTI loads: {}", reasons.join("; "));
    Err(ReturnCode::NOT_SUPPORTED.into())
}
