// SPDX-License-Identifier: BSD-2-Clause
//! Binds regcomp(3), regexec(3) and regfree(3).
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ptr::null_mut;

/// A compiled expression.
pub(crate) struct Compiled(Box<libc::regex_t>);

// SAFETY: POSIX lets any thread use a compiled expression; it is bound to none.
unsafe impl Send for Compiled {}

/// Compiles an expression; the error is the reason as text.
pub(crate) fn compile(text: &CStr) -> Result<Compiled, String> {
    let mut regex = Box::new(MaybeUninit::<libc::regex_t>::zeroed());
    // SAFETY: `text` is a C string, and `regex` owns writable memory for the result.
    let error = unsafe { libc::regcomp(regex.as_mut_ptr(), text.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB) };
    if error != 0 {
        return Err(reason(error, regex.as_ptr()));
    }
    // SAFETY: regcomp() has succeeded, so it has initialised `regex`.
    Ok(Compiled(unsafe { regex.assume_init() }))
}

fn reason(error: i32, regex: *const libc::regex_t) -> String {
    let mut text = [0_u8; 256];
    // SAFETY: regerror() writes at most `text.len()` bytes to `text`, NUL included.
    unsafe { libc::regerror(error, regex, text.as_mut_ptr().cast(), text.len()) };
    CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy().into_owned()
}

impl Compiled {
    /// Returns whether any part of `subject` matches.
    pub(crate) fn matches(&self, subject: &CStr) -> bool {
        // SAFETY: the expression is compiled, `subject` is a C string, and no match offsets are requested.
        unsafe { libc::regexec(&*self.0, subject.as_ptr(), 0, null_mut(), 0) == 0 }
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        // SAFETY: the expression is compiled, and only this drop frees it.
        unsafe { libc::regfree(&mut *self.0) }
    }
}
