// SPDX-License-Identifier: BSD-2-Clause
//! `libtss2-tcti-pcap.so.0`: records what goes through another TCTI. The transport is the crate `tcti-pcap`.
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

/// Opens another TCTI and records what goes through it, in the pcapng file that the environment variable
/// `TCTI_PCAP_FILE` names (default tpm2_log.pcap). With a NULL `tctiContext`, writes the size of a context in bytes to
/// `size`.
///
/// `conf` is `NAME:CONF` of the other TCTI; without one it is the loader's default. Its return codes pass through.
/// `TSS2_TCTI_RC_IO_ERROR` or `TSS2_TCTI_RC_NOT_PERMITTED` when the file cannot be written.
///
/// # Safety
/// `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Tss2_Tcti_Pcap_Init(
    tctiContext: *mut TSS2_TCTI_CONTEXT,
    size: *mut usize,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: the caller keeps the promises above, which are those of `init`.
    unsafe { ffi::init::<Pcap<tcti_loader::Child>>(tctiContext, size, conf) }
}

/// Describes this module, for loaders.
#[unsafe(no_mangle)]
pub extern "C" fn Tss2_Tcti_Info() -> *const TSS2_TCTI_INFO {
    INFO.as_ptr()
}
