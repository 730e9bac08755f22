// SPDX-License-Identifier: BSD-2-Clause
//! What no exported function lets through: a panic into C, and the end of its thread into Rust; and what none begins
//! without.

use super::reserve;
use core::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use tcti_core::abi::{TSS2_RC, TSS2_RC_SUCCESS};
use tcti_core::{Error, Result, ReturnCode};

/// Runs the body of an exported function; a panic becomes `GENERAL_FAILURE`. What the body owned is dropped by then.
/// `MEMORY` where the body might run out of it.
pub fn guard(body: impl FnOnce() -> Result<()>) -> TSS2_RC {
    caught(|| reserve::check().and_then(|()| body()))
}

/// The same for one that ends something, and has to.
pub fn guard_end(body: impl FnOnce() -> Result<()>) {
    caught(body);
}

fn caught(body: impl FnOnce() -> Result<()>) -> TSS2_RC {
    let _whole = Uncancelled::new();
    tcti_core::log::init();
    report_panics_to_the_log();
    let result = catch_unwind(AssertUnwindSafe(|| body().map_err(logged)));
    result.unwrap_or(Err(ReturnCode::GENERAL_FAILURE)).map_or_else(ReturnCode::to_c, |()| TSS2_RC_SUCCESS)
}

/// The one place where errors are logged: C receives this one.
#[cold]
#[inline(never)]
fn logged(error: Error) -> ReturnCode {
    error.log();
    error.code()
}

/// Until dropped, `pthread_cancel(3)` waits, and the call is completed first. glibc unwinds the thread, which Rust takes
/// for a foreign exception and ends the process; musl ends it where it is, which leaves the context busy for ever.
struct Uncancelled(c_int);

// The crate libc does not have them on Linux.
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}
/// `PTHREAD_CANCEL_DISABLE` of pthread.h, in glibc and in musl.
const DISABLE: c_int = 1;

impl Uncancelled {
    fn new() -> Uncancelled {
        let mut before = DISABLE;
        // SAFETY: the state is a valid one, and the place for the old one lives during the call.
        unsafe { pthread_setcancelstate(DISABLE, &mut before) };
        Uncancelled(before)
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        // SAFETY: the state is the one that was there before; glibc takes NULL, and so does musl.
        unsafe { pthread_setcancelstate(self.0, ptr::null_mut()) };
    }
}

/// Each of our libraries carries its own standard library, so this hook is nobody else's.
fn report_panics_to_the_log() {
    // Nobody waits for the thread that was first: a child process may be without it.
    static HOOKED: AtomicBool = AtomicBool::new(false);
    if cfg!(test) {
        return; // the test harness has a hook of its own
    }
    if !HOOKED.load(Ordering::Relaxed) && !HOOKED.swap(true, Ordering::Relaxed) {
        std::panic::set_hook(Box::new(|panic| {
            log::error!("internal error, please report it: {panic}");
        }));
    }
}
