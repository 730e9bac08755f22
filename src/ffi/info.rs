// SPDX-License-Identifier: BSD-2-Clause
//! The description of a module for loaders: [`Info`].

use core::ffi::{CStr, c_char};
use tcti_core::abi::{TCTI_VERSION, TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};

/// The information structure of a module; it lives as long as the library.
#[repr(transparent)]
pub struct Info(TSS2_TCTI_INFO);

// SAFETY: `Info::new` takes only static strings, and nothing modifies the structure.
unsafe impl Sync for Info {}

/// An `Init` function.
type Init = unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut usize, *const c_char) -> TSS2_RC;

impl Info {
    /// Describes a module: its name, one sentence about what it connects to, the form of its configuration string, and its
    /// `Init`, which is absent if a string cannot configure the module.
    pub const fn new(
        name: &'static CStr,
        description: &'static CStr,
        config_help: &'static CStr,
        init: Option<Init>,
    ) -> Info {
        Info(TSS2_TCTI_INFO {
            version: TCTI_VERSION,
            name: name.as_ptr(),
            description: description.as_ptr(),
            config_help: config_help.as_ptr(),
            init,
        })
    }

    /// Returns the structure for C.
    pub const fn as_ptr(&'static self) -> *const TSS2_TCTI_INFO {
        &self.0
    }
}
