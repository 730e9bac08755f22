// SPDX-License-Identifier: BSD-2-Clause
//! The headers as compilers see them: `c-tests/layout.c` against ours and against the distribution's, each header
//! alone in C and C++, and each together with the distribution's.

use std::fs;
use std::path::Path;
use std::process::Command;
use tss2_kit::need::{CC, CXX, TSS2_HEADERS};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

const WARNINGS: [&str; 3] = ["-Wall", "-Wextra", "-Werror"];

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("layout::of_our_headers", &[CC], || layout(Some(&stage::include())));
    suite.test("layout::of_the_distribution", &[CC, TSS2_HEADERS], || layout(None));
    suite.test("headers::each_library_has_one", &[], each_library_has_a_header);
    suite.test("headers::each_alone_as_c99", &[CC], || each_alone("cc", "c", "c99", &[]));
    suite.test("headers::each_alone_as_c11", &[CC], || each_alone("cc", "c", "c11", &["-pedantic"]));
    suite.test("headers::each_alone_as_cxx17", &[CXX], || each_alone("c++", "c++", "c++17", &["-pedantic"]));
    suite.test("headers::have_the_codes_of_the_distribution", &[CC, TSS2_HEADERS], codes_of_the_distribution);
    suite.test("headers::together_with_the_distribution", &[CC, CXX, TSS2_HEADERS], together_with_the_distribution);
}

fn layout(include: Option<&Path>) {
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-pedantic", "-Wno-unused-variable", "-fsyntax-only", "-H"]).args(WARNINGS);
    if let Some(include) = include {
        cc.arg("-I").arg(include);
    }
    let output = output::run(cc.arg(stage::c_tests("layout.c")));
    assert!(output.status.success(), "{}", output::show(&output));
    if let Some(include) = include {
        only_from(include, &output::stderr(&output));
    }
}

/// Checks that all headers of this interface which the compiler read (`-H`) come from `include`, so that the system's
/// do not stand in for one that is missing there.
fn only_from(include: &Path, report: &str) {
    let read = report.lines().filter_map(|line| line.trim_start_matches('.').strip_prefix(' ')).map(Path::new);
    let ours: Vec<&Path> = read.filter(|path| path.to_string_lossy().contains("/tss2/")).collect();
    assert!(!ours.is_empty(), "{report}");
    for path in ours {
        assert!(path.starts_with(include), "{} is not ours", path.display());
    }
}

/// Returns the names of the staged headers.
fn headers() -> Vec<String> {
    let dir = fs::read_dir(stage::include().join("tss2")).unwrap();
    let mut names: Vec<String> = dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn each_library_has_a_header() {
    let headers = headers();
    for name in stage::libraries().into_keys() {
        let header = name.replace('-', "_") + ".h";
        assert!(headers.contains(&header), "no header {header}");
    }
}

/// Compiles a file with these includes; the staged directory is searched before the system's. Returns the report of
/// `-H`.
fn compile(compiler: &str, language: &str, flags: &[&str], includes: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let text: String = includes.iter().map(|header| format!("#include <tss2/{header}>\n")).collect();
    fs::write(&source, text + "int here;\n").unwrap();
    let mut command = Command::new(compiler);
    command.args(["-fsyntax-only", "-H", "-I"]).arg(stage::include()).args(WARNINGS).args(flags);
    let output = output::run(command.args(["-x", language]).arg(source));
    assert!(output.status.success(), "{includes:?}: {}", output::show(&output));
    output::stderr(&output)
}

fn each_alone(compiler: &str, language: &str, standard: &str, flags: &[&str]) {
    let standard = format!("-std={standard}");
    let flags = [&[standard.as_str()], flags].concat();
    for header in headers() {
        only_from(&stage::include(), &compile(compiler, language, &flags, &[&header]));
    }
}

/// Every code in the base header of libtss2-dev is defined in ours, too, with the same value.
fn codes_of_the_distribution() {
    let dir = tempfile::tempdir().unwrap();
    let include = |include: &Path| format!("-I{}", include.join("tss2").display());
    let (ours, theirs) = (include(&stage::include()), include(Path::new("/usr/include")));
    let macros = output::succeed(Command::new("cc").args([
        "-dM",
        "-E",
        &theirs,
        "-include",
        "tss2_common.h",
        "-xc",
        "/dev/null",
    ]));
    let name = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    let codes: Vec<String> =
        macros.lines().filter_map(name).filter(|name| name.contains("_RC_") && !name.contains('(')).collect();
    assert!(codes.len() > 100, "{macros}");
    let print: String = codes.iter().map(|code| format!("printf(\"{code} %x\\n\", (unsigned)({code}));\n")).collect();
    let source = dir.path().join("codes.c");
    fs::write(&source, format!("#include <stdio.h>\n#include <tss2_common.h>\nint main(void) {{\n{print}}}\n"))
        .unwrap();
    let values = |include: &str| {
        let program = dir.path().join("codes");
        output::succeed(Command::new("cc").arg(include).arg("-o").arg(&program).arg(&source));
        output::succeed(&mut Command::new(program))
    };
    output::assert_same("the codes differ", &values(&ours), &values(&theirs));
}

fn together_with_the_distribution() {
    for header in headers() {
        for other in ["tss2_tpm2_types.h", "tss2_esys.h"] {
            for includes in [[header.as_str(), other], [other, header.as_str()]] {
                compile("cc", "c", &["-std=c11"], &includes);
                compile("c++", "c++", &["-std=c++17"], &includes);
            }
        }
    }
}
