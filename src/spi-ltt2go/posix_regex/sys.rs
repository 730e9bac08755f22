// SPDX-License-Identifier: BSD-2-Clause
//! regcomp(3), regexec(3), regfree(3).
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ptr::null_mut;

/// A compiled expression.
pub(crate) struct Compiled(Box<libc::regex_t>);

// SAFETY: POSIX has regexec() work on a compiled expression from any thread; nothing in it belongs to one.
unsafe impl Send for Compiled {}

/// Compiles, or says why not.
pub(crate) fn compile(text: &CStr) -> Result<Compiled, String> {
    let mut regex = Box::new(MaybeUninit::<libc::regex_t>::zeroed());
    // SAFETY: the C library reads a C string and fills memory that is ours.
    let error = unsafe { libc::regcomp(regex.as_mut_ptr(), text.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB) };
    if error != 0 {
        return Err(reason(error, regex.as_ptr()));
    }
    // SAFETY: regcomp() succeeded, so it is filled.
    Ok(Compiled(unsafe { regex.assume_init() }))
}

fn reason(error: i32, regex: *const libc::regex_t) -> String {
    let mut text = [0_u8; 256];
    // SAFETY: the C library writes at most as many bytes as there are, and a NUL at the end.
    unsafe { libc::regerror(error, regex, text.as_mut_ptr().cast(), text.len()) };
    CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy().into_owned()
}

impl Compiled {
    /// Whether a part of `subject` matches.
    pub(crate) fn matches(&self, subject: &CStr) -> bool {
        // SAFETY: the expression is compiled, the subject is a C string, and no places are asked for.
        unsafe { libc::regexec(&*self.0, subject.as_ptr(), 0, null_mut(), 0) == 0 }
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        // SAFETY: it is compiled, and freed once.
        unsafe { libc::regfree(&mut *self.0) }
    }
}
