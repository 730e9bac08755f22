// SPDX-License-Identifier: BSD-2-Clause
//! The defaults that are tried without a name: [`open`]. Nothing is logged in between; if all fail, one error states the reason
//! for each.

use crate::local;
use crate::sys::{Child, Module};
use core::ffi::CStr;
use core::fmt;
use nix::errno::Errno;
use std::env;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tcti_core::io::runs_with_foreign_rights;
use tcti_core::{Error, Result, ReturnCode, fail};
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

/// Why a default does not open. Its text is made only when it is shown, because that of a device needs files of the system.
enum Failure {
    Device(UnusableDevice),
    Other(Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Device(device) => f.write_str(&device.reason()),
            Failure::Other(error) => error.fmt(f),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Other(error)
    }
}

/// Returns the texts of failures.
fn reasons(failures: &[Failure]) -> String {
    let mut reasons: Vec<String> = failures.iter().map(Failure::to_string).collect();
    reasons.dedup();
    reasons.join("; ")
}

impl Candidate {
    /// Opens this default.
    fn open(&self) -> core::result::Result<Child, Failure> {
        self.requires.probe()?;
        let module = self.load()?;
        // The library would try the defaults, too, in an endless recursion.
        if module.is_this_library() {
            return Err(fail!(ReturnCode::IO_ERROR, "{} is this library itself", self.library.to_string_lossy()).into());
        }
        let conf = match self.requires {
            Requirement::Device(path) => Some(path),
            Requirement::Unknown | Requirement::SystemBus | Requirement::Simulator => None,
        };
        Ok(module.open(conf).map_err(|error| {
            fail!(ReturnCode::IO_ERROR, "{} does not open ({error})", self.library.to_string_lossy())
        })?)
    }

    fn load(&self) -> Result<Module> {
        Module::load(self.library)?
            .ok_or_else(|| fail!(ReturnCode::NOT_SUPPORTED, "{} is not installed", self.library.to_string_lossy()))
    }
}

impl Requirement {
    fn probe(&self) -> core::result::Result<(), Failure> {
        match self {
            Requirement::Unknown => Ok(()),
            Requirement::SystemBus => Ok(probe_system_bus()?),
            Requirement::Device(path) => {
                probe_device(Path::new(OsStr::from_bytes(path.to_bytes()))).map_err(Failure::Device)
            }
            Requirement::Simulator => Ok(local::probe_simulator()?),
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
    let mut failures = Vec::new();
    for candidate in &DEFAULTS {
        match candidate.open() {
            Ok(child) => {
                let before = || if failures.is_empty() { "no".to_owned() } else { reasons(&failures) };
                log::info!("the TCTI is the default {}; tried before: {}", child.file(), before());
                return Ok(child);
            }
            Err(failure) => failures.push(failure),
        }
    }
    let reasons = reasons(&failures);
    let device = |failure| match failure {
        Failure::Device(device) => Some(device),
        Failure::Other(_) => None,
    };
    let devices: Vec<UnusableDevice> = failures.into_iter().filter_map(device).collect();
    Err(fail!(
        ReturnCode::IO_ERROR,
        "no TCTI was specified and no default could be opened: {reasons}. {}",
        diagnosis::remedy(&devices)
    ))
}

/// Loads the first default whose library loads. Fails with `NOT_SUPPORTED` if none does.
pub(crate) fn load() -> Result<Module> {
    let mut failures = Vec::new();
    for candidate in &DEFAULTS {
        match candidate.load() {
            Ok(module) => return Ok(module),
            Err(error) => failures.push(error.into()),
        }
    }
    // The caller only queries information, so this is not worth an error in the log.
    log::info!("no library of a default TCTI loads: {}", reasons(&failures));
    Err(ReturnCode::NOT_SUPPORTED.into())
}
