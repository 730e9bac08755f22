// SPDX-License-Identifier: BSD-2-Clause
//! What a module says of itself.

use core::ffi::{CStr, c_char};
use tcti_core::abi::{TCTI_VERSION, TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};

/// The information structure of a module, for the lifetime of the library.
#[repr(transparent)]
pub struct Info(TSS2_TCTI_INFO);

// SAFETY: the structure and the strings it points to are constant.
unsafe impl Sync for Info {}

/// An `Init` function.
type Init = unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut usize, *const c_char) -> TSS2_RC;

impl Info {
    /// Name, one sentence on what the module reaches, form of the configuration string, and `Init`, which is absent
    /// in modules that no string can configure.
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

    /// For C.
    pub const fn as_ptr(&'static self) -> *const TSS2_TCTI_INFO {
        &self.0
    }
}
