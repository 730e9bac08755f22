// SPDX-License-Identifier: BSD-2-Clause
//! What is tried when nothing is named. Nothing is printed while it goes; if all fail, one error says why each did.

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
use tcti_diagnosis::{self as diagnosis, Failure as Unfit};

use tcti_core::{Result, ReturnCode, fail};

/// One candidate.
struct Default {
    library: &'static CStr,
    reach: Reach,
}

/// What a candidate needs. Looked at before its library is loaded, because the library would print that it is absent.
enum Reach {
    /// Only the library can tell.
    Library,
    /// The D-Bus system bus.
    SystemBus,
    /// A character device.
    Device(&'static CStr),
    /// A simulator at its default address.
    Simulator,
}

const DEVICE: &CStr = c"libtss2-tcti-device.so.0";

/// In this order.
const DEFAULTS: [Default; 7] = [
    Default { library: c"libtss2-tcti-default.so", reach: Reach::Library },
    Default { library: c"libtss2-tcti-tabrmd.so.0", reach: Reach::SystemBus },
    Default { library: DEVICE, reach: Reach::Device(c"/dev/tpmrm0") },
    Default { library: DEVICE, reach: Reach::Device(c"/dev/tpm0") },
    Default { library: DEVICE, reach: Reach::Device(c"/dev/tcm0") },
    Default { library: c"libtss2-tcti-swtpm.so.0", reach: Reach::Simulator },
    Default { library: c"libtss2-tcti-mssim.so.0", reach: Reach::Simulator },
];

impl Default {
    /// Opens it. A device that does not open is added to `devices`, for the remedy.
    fn open(&self, devices: &mut Vec<Unfit>) -> Result<Child> {
        self.reach.probe(devices)?;
        let module = self.load()?;
        // It would try the defaults, too, and so on without end.
        if module.is_this_library() {
            return Err(fail!(ReturnCode::IO_ERROR, "{} leads back to itself", self.library.to_string_lossy()));
        }
        let conf = match self.reach {
            Reach::Device(path) => Some(path),
            Reach::Library | Reach::SystemBus | Reach::Simulator => None,
        };
        module.open(conf).map_err(|error| {
            fail!(ReturnCode::IO_ERROR, "{} does not open ({:?})", self.library.to_string_lossy(), error.code())
        })
    }

    fn load(&self) -> Result<Module> {
        Module::load(self.library)?
            .ok_or_else(|| fail!(ReturnCode::NOT_SUPPORTED, "{} is not installed", self.library.to_string_lossy()))
    }
}

impl Reach {
    fn probe(&self, devices: &mut Vec<Unfit>) -> Result<()> {
        match self {
            Reach::Library => Ok(()),
            Reach::SystemBus => probe_system_bus(),
            Reach::Device(path) => probe_device(Path::new(OsStr::from_bytes(path.to_bytes()))).map_err(|unfit| {
                let error = fail!(ReturnCode::IO_ERROR, "{}", unfit.reason());
                devices.push(unfit);
                error
            }),
            Reach::Simulator => local::reach_simulator(),
        }
    }
}

/// Where the bus listens unless the environment says otherwise (D-Bus specification, "Well-known Message Bus Instances").
const SYSTEM_BUS: &str = "/var/run/dbus/system_bus_socket";

fn probe_system_bus() -> Result<()> {
    match env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some() || Path::new(SYSTEM_BUS).exists() {
        true => Ok(()),
        false => Err(fail!(ReturnCode::IO_ERROR, "tabrmd: no D-Bus system bus is running")),
    }
}

fn probe_device(path: &Path) -> core::result::Result<(), Unfit> {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    match opened {
        Ok(device) => diagnosis::check(path, device.as_fd()),
        Err(error) => Err(Unfit::system(path, Errno::from_raw(error.raw_os_error().unwrap_or_default()))),
    }
}

/// The first default that opens; `IO_ERROR` when none does.
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
        "no TCTI is named and no default opens: {}. {}",
        reasons.join("; "),
        diagnosis::remedy(&devices)
    ))
}

/// The first default whose library loads; `NOT_SUPPORTED` when none does.
pub(crate) fn load() -> Result<Module> {
    let mut reasons = Vec::new();
    for candidate in &DEFAULTS {
        match candidate.load() {
            Ok(module) => return Ok(module),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    reasons.dedup();
    // Who asks for this looks around and opens nothing.
    log::info!("no library of a default TCTI loads: {}", reasons.join("; "));
    Err(ReturnCode::NOT_SUPPORTED.into())
}
