// SPDX-License-Identifier: BSD-2-Clause
//! The size of the staged libraries, each of which is mapped into every program that opens a TPM.

use std::fs;
use std::process::Command;
use tss2_kit::need::BINUTILS;
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

/// The size limit of a library in bytes. rustc 1.85, the oldest compiler that we support, makes them a sixth larger
/// than 1.95.
const LIMIT: u64 = 496 << 10;
/// The same for spi-ltt2go, which contains a regular expression engine.
const LIMIT_WITH_ENGINE: u64 = 576 << 10;

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("size::each_library_is_stripped_and_small", &[BINUTILS], stripped_and_small);
}

fn stripped_and_small() {
    let entries = fs::read_dir(stage::lib()).unwrap().map(|entry| entry.unwrap().path());
    let libraries: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(".so.0")).collect();
    let modules = stage::libraries().len();
    assert_eq!(libraries.len(), modules, "{libraries:?}");
    for library in libraries {
        let size = fs::metadata(&library).unwrap().len();
        let limit = if library.ends_with("libtss2-tcti-spi-ltt2go.so.0") { LIMIT_WITH_ENGINE } else { LIMIT };
        assert!(size < limit, "{} has {size} bytes", library.display());
        let sections = output::succeed(Command::new("readelf").args(["-S", "-W"]).arg(&library).env("LC_ALL", "C"));
        assert!(sections.contains(".dynsym"), "{sections}");
        assert!(!sections.contains(".symtab") && !sections.contains(".debug"), "{} is not stripped", library.display());
    }
}
