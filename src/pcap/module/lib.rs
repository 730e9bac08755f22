// SPDX-License-Identifier: BSD-2-Clause
//! The C functions of `libtss2-tcti-pcap.so.0`, which records the traffic of another TCTI. The transport is the crate
//! `tcti-pcap`.
#![expect(unsafe_code, non_snake_case, reason = "a C face exports symbols under C names")]

use core::ffi::c_char;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};
use tcti_ffi::{self as ffi, Info};
use tcti_pcap::Pcap;

static INFO: Info = Info::new(
    c"tcti-pcap",
    c"TCTI module that records TPM commands and responses in a pcapng file.",
    c"Name and configuration string of the TCTI to record: \"device:/dev/tpmrm0\". TCTI_PCAP_FILE names the file.",
    Some(Tss2_Tcti_Pcap_Init),
);

/// Opens another TCTI, and records its commands and responses in the pcapng file that the environment variable
/// `TCTI_PCAP_FILE` names (default tpm2_log.pcap). With a NULL `tctiContext`, writes the size of a context in bytes to
/// `size` and does nothing else.
///
/// # Configuration
/// `conf` is `NAME:CONF` of the other TCTI. If it is NULL or empty, the default of the loader is opened.
///
/// # Return value
/// The code of the other TCTI; `TSS2_TCTI_RC_IO_ERROR` or `TSS2_TCTI_RC_NOT_PERMITTED` if the file cannot be written.
///
/// # Safety
/// `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
/// writable; `conf` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Pcap_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller guarantees what `init` requires, as stated above.
    unsafe { ffi::init::<Pcap<tcti_loader::Child>>(tctiContext, size, conf) }
}

/// Returns the description of this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
