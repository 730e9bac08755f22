// SPDX-License-Identifier: BSD-2-Clause
//! The kinds of TPM that are put under load.

pub(crate) mod command;
pub(crate) mod device;
pub(crate) mod libtpms;
pub(crate) mod network;
pub(crate) mod stick;
pub(crate) mod usb;
pub(crate) mod wrong_answers;

use std::ffi::CString;
use tcti_core::Result;
use tcti_core::Tcti;
use tcti_loader::NameConf;

/// Opens a `name:conf` through the loader, as programs do.
fn open(name_conf: &str) -> Result<Box<dyn Tcti>> {
    let name_conf = CString::new(name_conf).unwrap();
    Ok(Box::new(tcti_loader::open(&NameConf::parse(Some(&name_conf))?)?))
}
