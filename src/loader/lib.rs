// SPDX-License-Identifier: BSD-2-Clause
//! How a TCTI module is found and opened: [`NameConf`] reads what a person wrote, [`Module`] is a library that holds a
//! TCTI, [`Child`] an open context of it, [`open`] does it all.

mod defaults;
pub mod find;
mod local;
mod name_conf;
mod nearest;
mod sys;

pub use name_conf::NameConf;
pub use sys::{Child, Module};

use core::ffi::CStr;
use tcti_core::visible::visible;
use tcti_core::{Result, fail};

/// Opens what is named; without a name, the first default that opens. At level info the log says which it is.
pub fn open(what: &NameConf<'_>) -> Result<Child> {
    let Some(name) = what.name() else { return defaults::open() };
    let module = find::find(name)?;
    let is_known = module.is_of_the_stack();
    let shown = what.conf().map_or_else(|| "no conf".to_owned(), |conf| format!("conf {}", show(conf)));
    let child = module.open(what.conf()).map_err(|error| {
        let code = error.code();
        match error.message().is_empty() && !is_known {
            // Others may have logged why, or not.
            true => {
                fail!(code, "the TCTI {} does not open with {shown}: error {:#x} ({code:?})", show(name), code.to_c())
            }
            false => error,
        }
    })?;
    log::info!("the TCTI is {}, which is in {}, with {shown}", show(name), child.file());
    Ok(child)
}

fn show(text: &CStr) -> String {
    visible(text.to_string_lossy().as_ref())
}

/// Loads what is named without opening it; without a name, the first default whose library loads.
pub fn load(name: Option<&CStr>) -> Result<Module> {
    match name {
        Some(name) => find::find(name),
        None => defaults::load(),
    }
}
