// SPDX-License-Identifier: BSD-2-Clause
//! The C interface of the simulator, `libsim_tis.so`. Functions of type `int` return 0, or -1 for an error of the bus.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use crate::faults::Faults;
use crate::spi::Sim;
use crate::tpm::TctiTpm;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;

/// Makes a TPM on a bus. `name_conf` is the TCTI that executes commands, such as `libtpms:FILE`; `options` is NULL or
/// as for [`Faults::parse`]. Returns NULL when one of them is invalid or the TCTI does not open.
///
/// # Safety
/// `name_conf` is a C string; `options` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tis_sim_new(name_conf: *const c_char, options: *const c_char) -> *mut Sim {
    tcti_core::log::init();
    // SAFETY: the caller passes a C string.
    let name_conf = unsafe { CStr::from_ptr(name_conf) };
    let options = match options.is_null() {
        true => c"",
        // SAFETY: the caller passes a C string.
        false => unsafe { CStr::from_ptr(options) },
    };
    let sim = Faults::parse(&options.to_string_lossy())
        .and_then(|faults| TctiTpm::open(name_conf).map(|chip| Sim::new(chip, faults)));
    sim.map_or(null_mut(), |sim| Box::into_raw(Box::new(sim)))
}

/// Transfers `cnt` bytes, 1 to 68. Between acquire and release this is a part of a transaction, otherwise a whole one.
///
/// # Safety
/// `sim` is from [`tis_sim_new`]; `out` is NULL or readable and `into` NULL or writable for `cnt` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tis_sim_transfer(sim: *mut Sim, out: *const c_void, into: *mut c_void, cnt: usize) -> c_int {
    // SAFETY: the caller passes a simulator that it uses from one thread at a time.
    let sim = unsafe { &mut *sim };
    // The bytes are copied, because `out` and `into` may be the same memory.
    let bytes: Option<Vec<u8>> = match out.is_null() {
        true => None,
        // SAFETY: the caller passes `cnt` readable bytes.
        false => Some(unsafe { core::slice::from_raw_parts(out.cast::<u8>(), cnt) }.to_vec()),
    };
    let mut answer = vec![0; cnt];
    let result = sim.transfer(bytes.as_deref(), Some(&mut answer), cnt);
    if !into.is_null() {
        // SAFETY: the caller passes `cnt` writable bytes, which are not ours.
        unsafe { core::ptr::copy_nonoverlapping(answer.as_ptr(), into.cast(), cnt) };
    }
    if result.is_ok() { 0 } else { -1 }
}

/// Selects the TPM.
///
/// # Safety
/// `sim` is from [`tis_sim_new`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tis_sim_acquire(sim: *mut Sim) -> c_int {
    // SAFETY: the caller passes a simulator that it uses from one thread at a time.
    unsafe { &mut *sim }.select();
    0
}

/// Deselects the TPM.
///
/// # Safety
/// `sim` is from [`tis_sim_new`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tis_sim_release(sim: *mut Sim) -> c_int {
    // SAFETY: the caller passes a simulator that it uses from one thread at a time.
    unsafe { &mut *sim }.deselect();
    0
}

/// Returns the number of transactions.
///
/// # Safety
/// `sim` is from [`tis_sim_new`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tis_sim_transactions(sim: *const Sim) -> u64 {
    // SAFETY: the caller passes a simulator that it uses from one thread at a time.
    unsafe { &*sim }.transactions()
}

/// Returns the number of the driver's violations of the protocol, and prints each to stderr.
///
/// # Safety
/// `sim` is from [`tis_sim_new`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tis_sim_offences(sim: *const Sim) -> usize {
    // SAFETY: the caller passes a simulator that it uses from one thread at a time.
    let offences = unsafe { &*sim }.offences();
    offences.iter().for_each(|offence| eprintln!("the driver's fault: {offence}"));
    offences.len()
}

/// Returns 1 when the driver has claimed the locality, otherwise 0.
///
/// # Safety
/// `sim` is from [`tis_sim_new`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tis_sim_has_locality(sim: *const Sim) -> c_int {
    // SAFETY: the caller passes a simulator that it uses from one thread at a time.
    c_int::from(unsafe { &*sim }.has_locality())
}

/// Sets the faults from now on. Returns -1 when `options` is malformed.
///
/// # Safety
/// `sim` is from [`tis_sim_new`]; `options` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tis_sim_set(sim: *mut Sim, options: *const c_char) -> c_int {
    // SAFETY: the caller passes a C string.
    let options = unsafe { CStr::from_ptr(options) };
    // SAFETY: the caller passes a simulator that it uses from one thread at a time.
    let sim = unsafe { &mut *sim };
    Faults::parse(&options.to_string_lossy()).map_or(-1, |faults| {
        *sim.faults() = faults;
        0
    })
}

/// Frees a simulator.
///
/// # Safety
/// `sim` is NULL or from [`tis_sim_new`], and it is no longer used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tis_sim_free(sim: *mut Sim) {
    if !sim.is_null() {
        // SAFETY: the caller passes a pointer from tis_sim_new, and no longer uses it.
        drop(unsafe { Box::from_raw(sim) });
    }
}
