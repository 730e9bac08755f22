// SPDX-License-Identifier: BSD-2-Clause
//! What is tried when nothing is named. Nothing is printed while it goes; if all fail, one error says why each did.

use crate::sys::{Child, Failure, Module};
use core::ffi::CStr;
use nix::errno::Errno;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tcti_core::net::Channels;
use tcti_core::{Conf, Rc, Result, diagnosis, fail};

/// One candidate.
struct Default {
    library: &'static CStr,
    reach: Reach,
}

/// What a candidate needs. Looked at before its library is loaded, because the library would print that it is absent.
enum Reach {
    /// Only the library can tell.
    Library,
    /// A character device.
    Device(&'static CStr),
    /// A simulator at its default address.
    Simulator,
}

const DEVICE: &CStr = c"libtss2-tcti-device.so.0";

/// In this order.
const DEFAULTS: [Default; 7] = [
    Default { library: c"libtss2-tcti-default.so", reach: Reach::Library },
    Default { library: c"libtss2-tcti-tabrmd.so.0", reach: Reach::Library },
    Default { library: DEVICE, reach: Reach::Device(c"/dev/tpmrm0") },
    Default { library: DEVICE, reach: Reach::Device(c"/dev/tpm0") },
    Default { library: DEVICE, reach: Reach::Device(c"/dev/tcm0") },
    Default { library: c"libtss2-tcti-swtpm.so.0", reach: Reach::Simulator },
    Default { library: c"libtss2-tcti-mssim.so.0", reach: Reach::Simulator },
];

impl Default {
    fn open(&self) -> core::result::Result<Child, String> {
        self.reach.probe()?;
        let module = Module::load(self.library).map_err(Failure::into_reason)?;
        let conf = match self.reach {
            Reach::Device(path) => Some(path),
            Reach::Library | Reach::Simulator => None,
        };
        let named = || self.library.to_string_lossy();
        module.open(conf).map_err(|rc| format!("{}: it does not open ({rc:?})", named()))
    }
}

impl Reach {
    fn probe(&self) -> core::result::Result<(), String> {
        match self {
            Reach::Library => Ok(()),
            Reach::Device(path) => probe_device(Path::new(&*path.to_string_lossy())),
            Reach::Simulator => {
                let channels = Channels::parse(Conf::new(None), |_, _| None).map_err(|rc| format!("{rc:?}"))?;
                let mut data = channels.data;
                data.try_connect().map(drop)
            }
        }
    }
}

fn probe_device(path: &Path) -> core::result::Result<(), String> {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let error = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
    opened.map(drop).map_err(|e| diagnosis::of_all(&[(path, error(e))]))
}

/// The first default that opens; `IO_ERROR` when none does.
pub(crate) fn open() -> Result<Child> {
    let mut reasons = Vec::new();
    for candidate in &DEFAULTS {
        match candidate.open() {
            Ok(child) => return Ok(child),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(fail!(Rc::IO_ERROR, "no TCTI is named and no default opens: {}", reasons.join("; ")))
}

/// The first default whose library loads; `NOT_SUPPORTED` when none does.
pub(crate) fn load() -> Result<Module> {
    let mut reasons = Vec::new();
    for candidate in &DEFAULTS {
        match Module::load(candidate.library) {
            Ok(module) => return Ok(module),
            Err(failure) => reasons.push(failure.into_reason()),
        }
    }
    reasons.dedup();
    Err(fail!(Rc::NOT_SUPPORTED, "no library of a default TCTI loads: {}", reasons.join("; ")))
}
