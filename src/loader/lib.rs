// SPDX-License-Identifier: BSD-2-Clause
//! Finds and opens TCTI modules by name: [`open`]. [`NameConf`] is a parsed `name:conf`, [`Module`] a loaded library with a
//! TCTI, [`Child`] an open context of such a module.

mod defaults;
pub mod find;
mod local;
mod name_conf;
mod suggestion;
mod sys;

pub use name_conf::NameConf;
pub use sys::{Child, Module};

use core::ffi::CStr;
use tcti_core::visible::visible;
use tcti_core::{Result, fail};

/// Opens the TCTI with the given name; without a name, the first default that opens. Logs at level info which one was opened.
pub fn open(name_conf: &NameConf<'_>) -> Result<Child> {
    let Some(name) = name_conf.name() else { return defaults::open() };
    let module = find::find(name)?;
    let logs_errors = module.logs_errors();
    let shown = || name_conf.conf().map_or_else(|| "no conf".to_owned(), |conf| format!("conf {}", show(conf)));
    let child = module.open(name_conf.conf()).map_err(|error| {
        let code = error.code();
        match error.message().is_empty() && !logs_errors {
            // A third-party module may not have logged the reason.
            true => {
                let (name, shown) = (show(name), shown());
                fail!(code, "the TCTI {name} does not open with {shown}: error {:#x} ({code:?})", code.to_c())
            }
            false => error,
        }
    })?;
    log::info!("the TCTI is {}, which is in {}, with {}", show(name), child.file(), shown());
    Ok(child)
}

fn show(text: &CStr) -> String {
    visible(text.to_string_lossy().as_ref())
}

/// Loads the module with the given name without opening it; without a name, the first default whose library loads.
pub fn load(name: Option<&CStr>) -> Result<Module> {
    match name {
        Some(name) => find::find(name),
        None => defaults::load(),
    }
}
