// SPDX-License-Identifier: BSD-2-Clause
//! Suggestions for error messages: [`for_name`] corrects a name that has no library, [`package`] names the package of a missing
//! library.
#![forbid(unsafe_code)]

/// The known TCTIs, as in the names of their libraries.
const KNOWN: [&str; 12] = [
    "cmd",
    "device",
    "i2c-ftdi",
    "libtpms",
    "mssim",
    "null",
    "pcap",
    "spi-ftdi",
    "spi-ltt2go",
    "spidev",
    "swtpm",
    "tabrmd",
];

/// The maximum edit distance of a misspelt name: wrong, missing, additional or transposed letters.
const MAX_EDITS: usize = 2;

/// Returns advice about a name that has no library.
pub(crate) fn for_name(name: &str) -> String {
    if name.contains('/') {
        return "Is the path right?".to_owned();
    }
    let bare = bare(name).as_bytes();
    let limit = MAX_EDITS.min(bare.len() / 2);
    let distance = |known: &'static str| Some((distance(bare, known.as_bytes(), limit)?, known));
    match KNOWN.into_iter().filter_map(distance).min() {
        Some((0, "tabrmd")) => {
            "Install the package of tpm2-abrmd: libtss2-tcti-tabrmd0 in Debian, tpm2-abrmd in Fedora".to_owned()
        }
        Some((0, known)) => format!("Install its package: libtss2-tcti-{known}0 in Debian"),
        Some((_, known)) => format!("Did you mean {known}?"),
        None => "Is the name right, and its package installed?".to_owned(),
    }
}

/// Returns what to install if the dynamic linker reports that a library needs another one that is missing.
pub(crate) fn package(reason: &str) -> Option<String> {
    let (library, what) = reason.split_once(": ")?;
    if !what.starts_with("cannot open shared object file") || library.contains('/') {
        return None;
    }
    Some(match library {
        "libusb-1.0.so.0" => "its package: libusb-1.0-0 in Debian, libusb1 in Fedora".to_owned(),
        other => format!("the package that contains {other}"),
    })
}

/// Returns the name in `libtss2-tcti-NAME.so.0` and `tcti-NAME`.
pub(crate) fn bare(name: &str) -> &str {
    let name = name.strip_prefix("libtss2-").unwrap_or(name);
    let name = name.strip_prefix("tcti-").unwrap_or(name);
    name.split(".so").next().unwrap_or(name)
}

/// Returns the edit distance of two names if it is at most `limit`. Two transposed neighbours count as one edit.
fn distance(one: &[u8], other: &[u8], limit: usize) -> Option<usize> {
    let ([a, one_rest @ ..], [b, other_rest @ ..]) = (one, other) else {
        return Some(one.len().max(other.len())).filter(|left| *left <= limit);
    };
    if a == b {
        return distance(one_rest, other_rest, limit);
    }
    let limit = limit.checked_sub(1)?;
    let swapped = match (one, other) {
        ([a, b, one @ ..], [c, d, other @ ..]) if a == d && b == c => distance(one, other, limit),
        _ => None,
    };
    let ways = [(one_rest, other_rest), (one_rest, other), (one, other_rest)];
    let ways = ways.into_iter().filter_map(|(one, other)| distance(one, other, limit));
    ways.chain(swapped).min().map(|distance| distance + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_are_corrected() {
        for (name, meant) in [
            ("devcie", "device"),
            ("dvice", "device"),
            ("swtmp", "swtpm"),
            ("swtpms", "swtpm"),
            ("tcti-devcie", "device"),
            ("libtss2-tcti-swtmp.so.0", "swtpm"),
            ("libtpm", "libtpms"),
            ("mmsim", "mssim"),
            ("spi-lt2go", "spi-ltt2go"),
            ("tabrmb", "tabrmd"),
        ] {
            assert_eq!(for_name(name), format!("Did you mean {meant}?"), "{name}");
        }
    }

    #[test]
    fn names_unlike_any_tcti_are_not_corrected() {
        for name in ["no-such-tcti", "x", "tpm", "", &"x".repeat(4000), &"devic".repeat(4)] {
            assert_eq!(for_name(name), "Is the name right, and its package installed?", "{name}");
        }
    }

    #[test]
    fn the_package_of_a_known_tcti_is_named() {
        assert_eq!(for_name("swtpm"), "Install its package: libtss2-tcti-swtpm0 in Debian");
        assert!(for_name("tabrmd").contains("tpm2-abrmd"));
    }

    #[test]
    fn the_package_of_a_missing_library_is_named() {
        let missing = |library: &str| format!("{library}: cannot open shared object file: No such file or directory");
        let libusb = package(&missing("libusb-1.0.so.0")).unwrap();
        assert_eq!(libusb, "its package: libusb-1.0-0 in Debian, libusb1 in Fedora");
        assert_eq!(package(&missing("libx.so.5")).unwrap(), "the package that contains libx.so.5");
        for other in ["/etc/passwd: invalid ELF header", "nonsense", &missing("/lib/libx.so.5")] {
            assert_eq!(package(other), None, "{other}");
        }
    }

    #[test]
    fn a_path_is_not_corrected() {
        assert_eq!(for_name("/usr/lib/devcie"), "Is the path right?");
    }
}
