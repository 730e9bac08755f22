// SPDX-License-Identifier: BSD-2-Clause
//! How a TCTI module is found and opened: [`NameConf`] reads what a person wrote, [`Module`] is a library that holds a
//! TCTI, [`Child`] an open context of it, [`open`] does it all.

mod defaults;
mod find;
mod name_conf;
mod sys;

pub use name_conf::NameConf;
pub use sys::{Child, Module};

use tcti_core::Result;

/// Opens what is named; without a name, the first default that opens.
pub fn open(what: &NameConf<'_>) -> Result<Child> {
    match what.name() {
        Some(name) => find::find(name)?.open(what.conf()),
        None => defaults::open(),
    }
}

/// Loads what is named without opening it; without a name, the first default whose library loads.
pub fn load(name: Option<&core::ffi::CStr>) -> Result<Module> {
    match name {
        Some(name) => find::find(name),
        None => defaults::load(),
    }
}
