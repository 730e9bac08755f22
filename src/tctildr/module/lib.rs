// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tctildr.so.0`: finds a TCTI module by name and opens it. Its contexts forward every call as it came; see
//! the crate `tcti-tctildr`. How a module is found is in the crate `tcti-loader`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::Info;
use tcti_tctildr::sys;

static INFO: Info = Info::new(
    c"tctildr",
    c"Loader that opens other TCTI modules by name.",
    c"\"name:conf\" of a module, such as \"swtpm:host=localhost,port=2321\"; without it the first default that opens.",
    Some(Tss2_Tcti_TctiLdr_Init),
);

/// Opens the module that `nameConf` names, as `name` or `name:conf`; NULL or empty opens the first default.
///
/// `*context` is a new context, to be released by `Tss2_TctiLdr_Finalize`, or NULL on every failure.
/// `TSS2_TCTI_RC_BAD_VALUE` for a wrong `nameConf` or a NULL `context`, `TSS2_TCTI_RC_NOT_SUPPORTED` when there is no
/// such module, `TSS2_TCTI_RC_IO_ERROR` when no default opens; else the code of the module.
///
/// # Safety
/// `nameConf` is NULL or a C string; `context` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_TctiLdr_Initialize(
    nameConf: *const c_char,
    context: *mut *mut TSS2_TCTI_CONTEXT,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above.
    unsafe { sys::initialize(nameConf, context) }
}

/// As `Tss2_TctiLdr_Initialize`, with name and configuration string apart.
///
/// # Safety
/// `name` and `conf` are NULL or C strings; `context` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_TctiLdr_Initialize_Ex(
    name: *const c_char,
    conf: *const c_char,
    context: *mut *mut TSS2_TCTI_CONTEXT,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above.
    unsafe { sys::initialize_ex(name, conf, context) }
}

/// Closes the module's context, lets its library go, frees `*context` and makes it NULL.
///
/// # Safety
/// `context` is NULL or points to NULL or to a context of `Tss2_TctiLdr_Initialize` or `_Ex`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_TctiLdr_Finalize(context: *mut *mut TSS2_TCTI_CONTEXT) {
    // SAFETY: the caller keeps the promises above.
    unsafe { sys::finalize(context) }
}

/// Gives a copy of what the named module says of itself, `init` being NULL; free it with `Tss2_TctiLdr_FreeInfo`.
///
/// A NULL `name` asks for the first default whose library loads. `TSS2_TCTI_RC_BAD_REFERENCE` for a NULL `info`,
/// `TSS2_TCTI_RC_NOT_SUPPORTED` when there is no such module; then `*info` is NULL.
///
/// # Safety
/// `name` is NULL or a C string; `info` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_TctiLdr_GetInfo(name: *const c_char, info: *mut *mut TSS2_TCTI_INFO) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above.
    unsafe { sys::get_info(name, info) }
}

/// Frees `*info` and makes it NULL.
///
/// # Safety
/// `info` is NULL or points to NULL or to what `Tss2_TctiLdr_GetInfo` gave.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_TctiLdr_FreeInfo(info: *mut *mut TSS2_TCTI_INFO) {
    // SAFETY: the caller keeps the promises above.
    unsafe { sys::free_info(info) }
}

/// As `Tss2_TctiLdr_Initialize`, in memory of the caller; with a NULL `tctiContext`, writes the size of a context in
/// bytes to `size`.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_TctiLdr_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above.
    unsafe { sys::init(tctiContext, size, conf) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
