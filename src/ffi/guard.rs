// SPDX-License-Identifier: BSD-2-Clause
//! Wraps every exported function: catches panics, defers thread cancellation, logs the error that C receives, and checks the
//! memory reserve. The entries are [`guard`] and [`guard_end`].

use super::reserve;
use core::ffi::c_int;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use tcti_core::abi::{TSS2_RC, TSS2_RC_SUCCESS};
use tcti_core::{Error, Result, ReturnCode};

/// Runs the body of an exported function and returns its code. A panic becomes `GENERAL_FAILURE`, after everything that the body
/// owned was dropped. Returns `MEMORY`, without running the body, if the reserve is low.
pub fn guard(body: impl FnOnce() -> Result<()>) -> TSS2_RC {
    let mut body = Some(body);
    caught(&mut || {
        reserve::check()?;
        body.take().map_or(Ok(()), |body| body())
    })
}

/// Runs the body of an exported function that releases something, even if the reserve is low.
pub fn guard_end(body: impl FnOnce() -> Result<()>) {
    let mut body = Some(body);
    caught(&mut || body.take().map_or(Ok(()), |body| body()));
}

/// One copy for all exported functions, hence the reference to the body.
fn caught(body: &mut dyn FnMut() -> Result<()>) -> TSS2_RC {
    let _deferred = CancellationDeferred::new();
    tcti_core::log::init();
    report_panics_to_the_log();
    // Errors are logged only here, where C receives them.
    let logged = || body().inspect_err(Error::log).map_err(|error| error.code());
    let result = catch_unwind(AssertUnwindSafe(logged)).unwrap_or(Err(ReturnCode::GENERAL_FAILURE));
    result.map_or_else(ReturnCode::to_c, |()| TSS2_RC_SUCCESS)
}

/// Defers `pthread_cancel(3)` until it is dropped, so that the call completes first. Otherwise glibc would unwind the
/// thread; Rust treats that as a foreign exception and aborts the process. musl would end the thread at once, leaving the
/// context busy for ever. In a thread with asynchronous cancellation, which POSIX allows to call hardly any function, a request
/// would take effect in the drop, with the same result. Such a thread is left with deferred cancellation: the request takes
/// effect at the next cancellation point of the program.
struct CancellationDeferred(c_int);

// The crate libc does not declare them for Linux.
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int;
}
/// `PTHREAD_CANCEL_DISABLE` in the pthread.h of glibc and of musl.
const DISABLE: c_int = 1;
/// `PTHREAD_CANCEL_DEFERRED` in the pthread.h of glibc and of musl.
const DEFERRED: c_int = 0;

impl CancellationDeferred {
    fn new() -> CancellationDeferred {
        let mut before = DISABLE;
        // SAFETY: DISABLE is a valid state, and `before` outlives the call.
        unsafe { pthread_setcancelstate(DISABLE, &mut before) };
        // SAFETY: DEFERRED is a valid type; glibc and musl accept NULL for the old one.
        unsafe { pthread_setcanceltype(DEFERRED, ptr::null_mut()) };
        CancellationDeferred(before)
    }
}

impl Drop for CancellationDeferred {
    fn drop(&mut self) {
        // SAFETY: pthread_setcancelstate has returned this state in `new`; glibc and musl accept NULL for the old one.
        unsafe { pthread_setcancelstate(self.0, ptr::null_mut()) };
    }
}

/// Installs a panic hook that writes to the log. Each library contains its own copy of std, so the hook affects no other code.
fn report_panics_to_the_log() {
    // Never waits for the thread that came first: in a forked process it may not exist.
    static HOOKED: AtomicBool = AtomicBool::new(false);
    if cfg!(test) {
        return; // the test harness has its own hook
    }
    if !HOOKED.load(Ordering::Relaxed) && !HOOKED.swap(true, Ordering::Relaxed) {
        std::panic::set_hook(Box::new(report));
    }
}

/// Logs a panic. Its own text has two lines.
fn report(panic: &PanicHookInfo<'_>) {
    let text = panic.payload().downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str)).unwrap_or("panic");
    match panic.location() {
        Some(place) => log::error!("internal error, please report it: {text} ({place})"),
        None => log::error!("internal error, please report it: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tcti_core::testing::this_program;

    const PANICS: &str = "TCTI_FFI_TEST_PANICS";

    #[test]
    fn a_panic_is_one_line() {
        if std::env::var_os(PANICS).is_some() {
            tcti_core::log::init();
            std::panic::set_hook(Box::new(report));
            panic!("the {} asks for it", "test");
        }
        let mut again = this_program();
        again
            .args(["--exact", "guard::tests::a_panic_is_one_line", "--nocapture"])
            .env(PANICS, "1")
            .env_remove("TSS2_LOG");
        let output = again.env_remove("TSS2_LOGFILE").output().unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        let ours: Vec<&str> = printed.lines().filter(|line| line.starts_with("ERROR:tcti:")).collect();
        assert_eq!(ours.len(), 1, "{printed}");
        assert!(
            ours[0].contains("() internal error, please report it: the test asks for it (") && !ours[0].contains("x0a"),
            "{printed}"
        );
    }
}
