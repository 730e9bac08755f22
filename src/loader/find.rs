// SPDX-License-Identifier: BSD-2-Clause
//! Finds the library of a TCTI by its name: `find`; [`candidates`] lists the files that it tries.

use crate::suggestion;
use crate::sys::Module;
use core::ffi::CStr;
use std::ffi::CString;
use tcti_core::visible::visible;
use tcti_core::{Result, ReturnCode, fail};

/// Returns the files for a name, in the order in which they are tried; for a path, only that.
pub fn candidates(name: &CStr) -> Vec<CString> {
    let name = match name.to_bytes() {
        b"abrmd" => b"tabrmd", // users name it after the daemon
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

/// Loads the first candidate that exists and loads. Fails with `NOT_SUPPORTED` if none does, and with the code of
/// [`Module::load`] for a library without a TCTI.
pub(crate) fn find(name: &CStr) -> Result<Module> {
    let candidates = candidates(name);
    let mut found = Vec::new();
    for file in &candidates {
        match Module::load(file) {
            Ok(Some(module)) => return Ok(module),
            Ok(None) => {}
            Err(error) if error.code() != ReturnCode::NOT_SUPPORTED => return Err(error),
            // Two names of the same file fail for the same reason.
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
            suggestion::for_name(&name)
        ),
        false => {
            let package = found.iter().find_map(|reason| suggestion::package(reason));
            let advice = package.map(|package| format!(". Install {package}")).unwrap_or_default();
            let reasons = found.join("; ");
            fail!(
                ReturnCode::NOT_SUPPORTED,
                "the library of the TCTI \"{}\" does not load: {reasons}{advice}",
                visible(&*name)
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_five_candidates() {
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
    fn a_file_that_is_not_a_library_is_not_supported() {
        assert_eq!(find(c"/etc/passwd").err(), Some(ReturnCode::NOT_SUPPORTED.into()));
    }

    #[test]
    fn a_library_without_a_tcti_is_a_bad_reference() {
        assert_eq!(find(c"libc.so.6").err(), Some(ReturnCode::BAD_REFERENCE.into()));
    }
}
