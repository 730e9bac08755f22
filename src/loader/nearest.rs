// SPDX-License-Identifier: BSD-2-Clause
//! What a person may have meant by a name for which there is no library: [`advice`]. Which package a library lacks:
//! [`package`].
#![forbid(unsafe_code)]

/// The TCTIs that there are, as far as we know, by the names of their libraries.
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

/// As many letters may be wrong, missing, too many or changed round.
const WRONG: usize = 2;

/// What to do about a name without a library.
pub(crate) fn advice(name: &str) -> String {
    if name.contains('/') {
        return "Is the path right?".to_owned();
    }
    let bare = bare(name).as_bytes();
    let most = WRONG.min(bare.len() / 2);
    let distance = |known: &'static str| Some((distance(bare, known.as_bytes(), most)?, known));
    match KNOWN.into_iter().filter_map(distance).min() {
        Some((0, "tabrmd")) => {
            "Install the package of tpm2-abrmd: libtss2-tcti-tabrmd0 in Debian, tpm2-abrmd in Fedora".to_owned()
        }
        Some((0, known)) => format!("Install its package: libtss2-tcti-{known}0 in Debian"),
        Some((_, known)) => format!("Is {known} meant?"),
        None => "Is the name right, and its package installed?".to_owned(),
    }
}

/// What to install when the dynamic linker says that a library needs another one which is missing.
pub(crate) fn package(reason: &str) -> Option<String> {
    let (library, what) = reason.split_once(": ")?;
    if !what.starts_with("cannot open shared object file") || library.contains('/') {
        return None;
    }
    Some(match library {
        "libusb-1.0.so.0" => "its package: libusb-1.0-0 in Debian, libusb1 in Fedora".to_owned(),
        other => format!("the package that has {other}"),
    })
}

/// The name in `libtss2-tcti-NAME.so.0` and `tcti-NAME`.
fn bare(name: &str) -> &str {
    let name = name.strip_prefix("libtss2-").unwrap_or(name);
    let name = name.strip_prefix("tcti-").unwrap_or(name);
    name.split(".so").next().unwrap_or(name)
}

/// How many letters make the difference, if they are not more than `most`; two neighbours that changed their places count
/// once.
fn distance(one: &[u8], other: &[u8], most: usize) -> Option<usize> {
    let ([a, one_rest @ ..], [b, other_rest @ ..]) = (one, other) else {
        return Some(one.len().max(other.len())).filter(|left| *left <= most);
    };
    if a == b {
        return distance(one_rest, other_rest, most);
    }
    let most = most.checked_sub(1)?;
    let swapped = match (one, other) {
        ([a, b, one @ ..], [c, d, other @ ..]) if a == d && b == c => distance(one, other, most),
        _ => None,
    };
    let ways = [(one_rest, other_rest), (one_rest, other), (one, other_rest)];
    let ways = ways.into_iter().filter_map(|(one, other)| distance(one, other, most));
    ways.chain(swapped).min().map(|distance| distance + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told() {
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
            assert_eq!(advice(name), format!("Is {meant} meant?"), "{name}");
        }
    }

    #[test]
    fn what_is_far_from_all_is_not() {
        for name in ["no-such-tcti", "x", "tpm", "", &"x".repeat(4000), &"devic".repeat(4)] {
            assert_eq!(advice(name), "Is the name right, and its package installed?", "{name}");
        }
    }

    #[test]
    fn a_name_that_there_is_has_a_package() {
        assert_eq!(advice("swtpm"), "Install its package: libtss2-tcti-swtpm0 in Debian");
        assert!(advice("tabrmd").contains("tpm2-abrmd"));
    }

    #[test]
    fn a_library_that_is_missing_has_a_package() {
        let missing = |library: &str| format!("{library}: cannot open shared object file: No such file or directory");
        let libusb = package(&missing("libusb-1.0.so.0")).unwrap();
        assert_eq!(libusb, "its package: libusb-1.0-0 in Debian, libusb1 in Fedora");
        assert_eq!(package(&missing("libx.so.5")).unwrap(), "the package that has libx.so.5");
        for other in ["/etc/passwd: invalid ELF header", "nonsense", &missing("/lib/libx.so.5")] {
            assert_eq!(package(other), None, "{other}");
        }
    }

    #[test]
    fn a_path_is_no_name() {
        assert_eq!(advice("/usr/lib/devcie"), "Is the path right?");
    }
}
