// SPDX-License-Identifier: BSD-2-Clause
//! Hardening of each staged library, by its program headers and its dynamic section. Stack protectors and fortified
//! libc calls are not checked, because no C code is compiled into the libraries.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tss2_kit::need::BINUTILS;
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("hardening::relocated_data_is_read_only", &[BINUTILS], || each(full_relro));
    suite.test("hardening::no_memory_is_writable_and_executable", &[BINUTILS], || each(no_writable_code));
    suite.test("hardening::no_library_has_a_search_path", &[BINUTILS], || each(no_search_path));
    suite.test("hardening::no_library_contains_a_path_of_this_machine", &[], no_path_of_the_machine);
}

/// The output of readelf for a library.
struct Library {
    name: String,
    segments: String,
    dynamic: String,
}

fn each(body: fn(&Library)) {
    let mut libraries = 0;
    for name in stage::libraries().into_keys() {
        let readelf = |option: &str| {
            let mut readelf = Command::new("readelf");
            readelf.args([option, "-W"]).arg(stage::lib().join(format!("lib{name}.so.0"))).env("LC_ALL", "C");
            output::succeed(&mut readelf)
        };
        body(&Library { segments: readelf("-l"), dynamic: readelf("-d"), name });
        libraries += 1;
    }
    assert!(libraries > 0);
}

fn full_relro(library: &Library) {
    assert!(library.segments.contains("GNU_RELRO"), "{}\n{}", library.name, library.segments);
    let now = library.dynamic.lines().any(|line| line.contains("(FLAGS_1)") && line.contains("NOW"));
    assert!(now, "{}\n{}", library.name, library.dynamic);
}

fn no_writable_code(library: &Library) {
    // The columns are TYPE OFFSET VIRTUAL PHYSICAL FILE MEMORY FLAGS ALIGN; the flags "R E" are two words.
    let flags = |line: &str| line.split_whitespace().skip(6).collect::<Vec<_>>().join("");
    let mut stacks = 0;
    for line in library.segments.lines().map(str::trim) {
        if line.starts_with("LOAD") || line.starts_with("GNU_STACK") {
            let flags = flags(line);
            assert!(!(flags.contains('W') && flags.contains('E')), "{}: {line}", library.name);
        }
        stacks += usize::from(line.starts_with("GNU_STACK"));
    }
    // Without this header the kernel makes the stack executable.
    assert_eq!(stacks, 1, "{}", library.name);
    assert!(!library.dynamic.contains("TEXTREL"), "{}\n{}", library.name, library.dynamic);
}

fn no_search_path(library: &Library) {
    for tag in ["(RPATH)", "(RUNPATH)"] {
        assert!(!library.dynamic.contains(tag), "{}\n{}", library.name, library.dynamic);
    }
}

/// Such paths would also make the build irreproducible.
fn no_path_of_the_machine() {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    for name in fs::read_dir(stage::lib()).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(bytes) = fs::read(&name) else { continue };
        for path in [stage::repository(), stage::root(), home.join(".cargo"), home.join(".rustup")] {
            let path = path.as_os_str().as_encoded_bytes();
            let found = bytes.windows(path.len()).any(|window| window == path);
            assert!(!found, "{} contains {}", name.display(), String::from_utf8_lossy(path));
        }
    }
}
