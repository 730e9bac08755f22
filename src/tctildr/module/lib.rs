// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of `libtss2-tctildr.so.0`, which finds a TCTI module by name and opens it. Its contexts forward every
//! call unchanged, see the crate `tcti-tctildr`. The crate `tcti-loader` finds modules.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::Info;
use tcti_tctildr::sys;

static INFO: Info = Info::new(
    c"tctildr",
    c"Loader that opens other TCTI modules by name.",
    c"\"name:conf\" of a module, such as \"swtpm:host=localhost,port=2321\"; if empty, the first default that opens.",
    Some(Tss2_Tcti_TctiLdr_Init),
);

/// Opens a TCTI module and stores a new context in `*context`, which `Tss2_TctiLdr_Finalize` releases. After a failure
/// `*context` is NULL.
///
/// # Configuration
/// `nameConf` is the name of the module, or `name:conf`. If it is NULL or empty, the first default that opens is used.
///
/// # Return value
/// `TSS2_TCTI_RC_BAD_VALUE` if `nameConf` is invalid or `context` is NULL, `TSS2_TCTI_RC_NOT_SUPPORTED` if the module does
/// not exist, `TSS2_TCTI_RC_IO_ERROR` if no default opens; otherwise the code of the module.
///
/// # Safety
/// `nameConf` is NULL or a C string; `context` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_TctiLdr_Initialize(
    nameConf: *const c_char,
    context: *mut *mut TSS2_TCTI_CONTEXT,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what the function requires, as stated above.
    unsafe { sys::initialize(nameConf, context) }
}

/// Opens a TCTI module like `Tss2_TctiLdr_Initialize`, with the name and the configuration string as separate arguments.
///
/// # Safety
/// `name` and `conf` are NULL or C strings; `context` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_TctiLdr_Initialize_Ex(
    name: *const c_char,
    conf: *const c_char,
    context: *mut *mut TSS2_TCTI_CONTEXT,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what the function requires, as stated above.
    unsafe { sys::initialize_ex(name, conf, context) }
}

/// Finalizes the context of the module, unloads its library, frees `*context` and sets it to NULL.
///
/// # Safety
/// `context` is NULL or points to NULL or to a context of `Tss2_TctiLdr_Initialize` or `_Ex`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_TctiLdr_Finalize(context: *mut *mut TSS2_TCTI_CONTEXT) {
    // SAFETY: the caller guarantees what the function requires, as stated above.
    unsafe { sys::finalize(context) }
}

/// Stores a copy of the description of a module in `*info`, with a NULL `init`. Free it with `Tss2_TctiLdr_FreeInfo`.
///
/// # Configuration
/// `name` is the name of the module. If it is NULL, the first default whose library loads is described.
///
/// # Return value
/// `TSS2_TCTI_RC_BAD_REFERENCE` if `info` is NULL, `TSS2_TCTI_RC_NOT_SUPPORTED` if the module does not exist; `*info` is
/// then NULL.
///
/// # Safety
/// `name` is NULL or a C string; `info` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_TctiLdr_GetInfo(name: *const c_char, info: *mut *mut TSS2_TCTI_INFO) -> TSS2_RC {
    // SAFETY: the caller guarantees what the function requires, as stated above.
    unsafe { sys::get_info(name, info) }
}

/// Frees `*info` and sets it to NULL.
///
/// # Safety
/// `info` is NULL or points to NULL or to a description from `Tss2_TctiLdr_GetInfo`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_TctiLdr_FreeInfo(info: *mut *mut TSS2_TCTI_INFO) {
    // SAFETY: the caller guarantees what the function requires, as stated above.
    unsafe { sys::free_info(info) }
}

/// Opens a TCTI module like `Tss2_TctiLdr_Initialize`, and creates the context in the memory of the caller. With a NULL
/// `tctiContext`, writes the size of a context in bytes to `size` and does nothing else.
///
/// # Safety
/// `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
/// writable; `conf` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_TctiLdr_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what the function requires, as stated above.
    unsafe { sys::init(tctiContext, size, conf) }
}

/// Returns the description of this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
