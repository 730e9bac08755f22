// SPDX-License-Identifier: BSD-2-Clause
//! The functions that a C program passes to Init, as declared in the C header.
#![expect(non_camel_case_types, reason = "C names")]

use core::ffi::{c_int, c_void};
use tcti_core::abi::TSS2_RC;

/// Sleeps for `milliseconds`.
pub type TSS2_TCTI_SPI_HELPER_PLATFORM_SLEEP_MS_FUNC =
    Option<unsafe extern "C" fn(user_data: *mut c_void, milliseconds: c_int) -> TSS2_RC>;
/// Starts the only timer, which expires after `milliseconds`; this replaces an earlier start.
pub type TSS2_TCTI_SPI_HELPER_PLATFORM_START_TIMEOUT_FUNC =
    Option<unsafe extern "C" fn(user_data: *mut c_void, milliseconds: c_int) -> TSS2_RC>;
/// Writes to `result` whether the timer has expired.
pub type TSS2_TCTI_SPI_HELPER_PLATFORM_TIMEOUT_EXPIRED_FUNC =
    Option<unsafe extern "C" fn(user_data: *mut c_void, result: *mut bool) -> TSS2_RC>;
/// Acquires the bus and selects the TPM, which stays selected during several transfers.
pub type TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_ACQUIRE_FUNC =
    Option<unsafe extern "C" fn(user_data: *mut c_void) -> TSS2_RC>;
/// Deselects the TPM and releases the bus.
pub type TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_RELEASE_FUNC =
    Option<unsafe extern "C" fn(user_data: *mut c_void) -> TSS2_RC>;
/// Shifts `cnt` bytes, 1 to 68, out of `data_out` and into `data_in` at the same time. One of them may be NULL: then zeroes
/// are sent, or the received bytes are dropped.
pub type TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_TRANSFER_FUNC = Option<
    unsafe extern "C" fn(user_data: *mut c_void, data_out: *const c_void, data_in: *mut c_void, cnt: usize) -> TSS2_RC,
>;
/// Frees what belongs to `user_data`.
pub type TSS2_TCTI_SPI_HELPER_PLATFORM_FINALIZE = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// The functions of the program. Each receives `user_data` and returns `TSS2_RC_SUCCESS`, or any other code for an error,
/// which fails the command. Each must return: `pthread_exit(3)`, a C++ exception or a cancellation inside it ends the process,
/// because the call could release neither the bus nor the context.
///
/// `spi_acquire` and `spi_release` are both present or both NULL. With them the TPM may insert wait states: header, wait
/// states and data are separate transfers between the two calls. Without them each transfer is a complete transaction, and
/// the TPM must not insert wait states. `finalize` may be NULL; all other functions are required.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TSS2_TCTI_SPI_HELPER_PLATFORM {
    /// Passed to each function.
    pub user_data: *mut c_void,
    /// Sleeps.
    pub sleep_ms: TSS2_TCTI_SPI_HELPER_PLATFORM_SLEEP_MS_FUNC,
    /// Starts the timer.
    pub start_timeout: TSS2_TCTI_SPI_HELPER_PLATFORM_START_TIMEOUT_FUNC,
    /// Checks the timer.
    pub timeout_expired: TSS2_TCTI_SPI_HELPER_PLATFORM_TIMEOUT_EXPIRED_FUNC,
    /// Begins a transaction, or NULL.
    pub spi_acquire: TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_ACQUIRE_FUNC,
    /// Ends a transaction, or NULL.
    pub spi_release: TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_RELEASE_FUNC,
    /// Shifts bytes.
    pub spi_transfer: TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_TRANSFER_FUNC,
    /// Called once, in Finalize, but not when Init fails; or NULL.
    pub finalize: TSS2_TCTI_SPI_HELPER_PLATFORM_FINALIZE,
}
