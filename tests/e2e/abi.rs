// SPDX-License-Identifier: BSD-2-Clause
//! Each staged library as the dynamic linker sees it: file names, exported symbols, needed libraries and flags. A
//! library exports the symbols in `src/*/module/exports.txt`, or without that file its Init function and
//! Tss2_Tcti_Info.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use tss2_kit::need::BINUTILS;
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("abi::every_module_is_staged", &[], lists_match_libraries);
    for name in stage::libraries().into_keys() {
        let test = |what: &str| format!("abi::{name}::{what}");
        let with = |body: fn(&str)| {
            let name = name.clone();
            move || body(&name)
        };
        suite.test(test("has_three_file_names"), &[], with(three_file_names));
        suite.test(test("exports_exactly_its_list"), &[BINUTILS], with(exports));
        suite.test(test("names_itself_and_needs_no_tss2_library"), &[BINUTILS], with(dynamic_section));
    }
}

fn names_in(dir: &Path, name: impl Fn(&str) -> Option<&str>) -> BTreeSet<String> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files.filter_map(|file| name(&file).map(str::to_owned)).collect()
}

fn lists_match_libraries() {
    let staged = names_in(&stage::lib(), |file| file.strip_prefix("lib").and_then(|rest| rest.strip_suffix(".so.0")));
    assert!(!staged.is_empty());
    assert_eq!(staged, stage::libraries().into_keys().collect());
}

fn three_file_names(name: &str) {
    let file = |suffix: &str| stage::lib().join(format!("lib{name}.so{suffix}"));
    assert!(file(".0.0.0").symlink_metadata().unwrap().is_file());
    for link in [file(".0"), file("")] {
        assert!(link.is_symlink(), "{}", link.display());
        assert_eq!(link.canonicalize().unwrap(), file(".0.0.0"));
    }
}

fn exports(name: &str) {
    let library = stage::lib().join(format!("lib{name}.so.0"));
    let nm = output::succeed(Command::new("nm").args(["-D", "--defined-only", "--format=just-symbols"]).arg(library));
    let mut found: Vec<&str> = nm.lines().collect();
    found.sort_unstable();
    output::assert_same("exported symbols", &(found.join("\n") + "\n"), &(stage::exports(name).join("\n") + "\n"));
}

fn dynamic_section(name: &str) {
    let library = stage::lib().join(format!("lib{name}.so.0"));
    let section = output::succeed(Command::new("readelf").args(["-d", "-W"]).arg(library).env("LC_ALL", "C"));
    let entries = |tag: &str| -> Vec<String> {
        let lines = section.lines().filter(|line| line.contains(&format!("({tag})")));
        lines.map(|line| line.rsplit_once(')').unwrap().1.trim().to_owned()).collect()
    };
    assert_eq!(entries("SONAME"), [format!("Library soname: [lib{name}.so.0]")]);
    let needed = entries("NEEDED");
    assert!(needed.iter().any(|library| library.contains("[libc.so")), "{needed:?}");
    assert!(!needed.iter().any(|library| library.contains("[libtss2-")), "{needed:?}");
    // See src/ffi/link.rs.
    if cfg!(target_arch = "x86_64") {
        assert!(!needed.iter().any(|library| library.contains("[libgcc_s")), "{needed:?}");
    }
    let flags = entries("FLAGS_1").join(" ");
    assert!(flags.contains("NODELETE"), "{flags}");
}
