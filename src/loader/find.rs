// SPDX-License-Identifier: BSD-2-Clause
//! From a name to a library.

use crate::nearest;
use crate::sys::Module;
use core::ffi::CStr;
use std::ffi::CString;
use tcti_core::visible::visible;
use tcti_core::{Result, ReturnCode, fail};

/// The files that a name stands for, in the order they are tried; a path stands for itself.
pub fn candidates(name: &CStr) -> Vec<CString> {
    let name = match name.to_bytes() {
        b"abrmd" => b"tabrmd", // as people call it after the daemon
        other => other,
    };
    if name.contains(&b'/') {
        return CString::new(name).into_iter().collect();
    }
    let file = |before: &str, after: &str| CString::new([before.as_bytes(), name, after.as_bytes()].concat()).ok();
    let forms =
        [("", ""), ("libtss2-tcti-", ".so.0"), ("libtss2-tcti-", ".so"), ("libtss2-", ".so.0"), ("libtss2-", ".so")];
    forms.iter().filter_map(|(before, after)| file(before, after)).collect()
}

/// Loads the first candidate that is there. `NOT_SUPPORTED` when none loads.
pub(crate) fn find(name: &CStr) -> Result<Module> {
    let candidates = candidates(name);
    let mut found = Vec::new();
    for file in &candidates {
        match Module::load(file) {
            Ok(Some(module)) => return Ok(module),
            Ok(None) => {}
            Err(error) if error.code() != ReturnCode::NOT_SUPPORTED => return Err(error),
            // Two names of one file have the same reason.
            Err(error) if found.iter().any(|reason: &String| reason == error.message()) => {}
            Err(error) => found.push(error.to_string()),
        }
    }
    let name = name.to_string_lossy();
    let tried = candidates.iter().map(|file| visible(&*file.to_string_lossy())).collect::<Vec<_>>().join(", ");
    Err(match found.is_empty() {
        true => fail!(
            ReturnCode::NOT_SUPPORTED,
            "no TCTI \"{}\": there is no library {tried}. {}",
            visible(&*name),
            nearest::advice(&name)
        ),
        false => {
            let package = found.iter().find_map(|reason| nearest::package(reason));
            let advice = package.map(|package| format!(". Install {package}")).unwrap_or_default();
            let reasons = found.join("; ");
            fail!(ReturnCode::NOT_SUPPORTED, "the library of the TCTI \"{name}\" does not load: {reasons}{advice}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_five_files() {
        assert_eq!(
            candidates(c"swtpm"),
            [
                c"swtpm".to_owned(),
                c"libtss2-tcti-swtpm.so.0".to_owned(),
                c"libtss2-tcti-swtpm.so".to_owned(),
                c"libtss2-swtpm.so.0".to_owned(),
                c"libtss2-swtpm.so".to_owned(),
            ]
        );
        assert_eq!(candidates(c"/lib/x.so"), [c"/lib/x.so".to_owned()]);
        assert_eq!(candidates(c"./x"), [c"./x".to_owned()]);
        assert_eq!(candidates(c"abrmd")[1], c"libtss2-tcti-tabrmd.so.0".to_owned());
    }

    #[test]
    fn a_missing_library_is_not_supported() {
        assert_eq!(find(c"no-such-tcti").err(), Some(ReturnCode::NOT_SUPPORTED.into()));
    }

    #[test]
    fn a_file_that_is_no_library_is_not_supported() {
        assert_eq!(find(c"/etc/passwd").err(), Some(ReturnCode::NOT_SUPPORTED.into()));
    }

    #[test]
    fn a_library_that_is_no_tcti_is_an_error_of_ours() {
        assert_eq!(find(c"libc.so.6").err(), Some(ReturnCode::BAD_REFERENCE.into()));
    }
}
