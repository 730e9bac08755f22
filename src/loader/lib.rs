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
use tcti_core::{Rc, Result, fail};

/// Opens what is named; without a name, the first default that opens. At level info the log says which it is.
pub fn open(what: &NameConf<'_>) -> Result<Child> {
    let Some(name) = what.name() else { return defaults::open() };
    let module = find::find(name)?;
    let is_known = module.is_of_the_stack();
    let shown = what.conf().map_or_else(|| "no conf".to_owned(), |conf| format!("conf {}", show(conf)));
    let child = module.open_or(what.conf(), |rc| {
        // Others may have said why, or not.
        if !is_known {
            let code = Rc::to_c(Err(rc));
            let _ = fail!(rc, "the TCTI {} does not open with {shown}: error {code:#x} ({rc:?})", show(name));
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
