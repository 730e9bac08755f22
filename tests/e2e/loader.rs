// SPDX-License-Identifier: BSD-2-Clause
//! The loader: all its calls (`c-tests/loader.c`), modules that misbehave (`c-tests/stub.c`), and the search for
//! libraries.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use tss2_kit::need::{CC, LIBTPMS, Need, PKG_CONFIG, SWTPM, VALGRIND};
use tss2_kit::program::{self, Link};
use tss2_kit::server::{SocketKind, Swtpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

const BUILD: [Need; 2] = [CC, PKG_CONFIG];
const LEAKS: &str = "-q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect";

/// The rest of the test's name, STUB of stub.c, and the code that opening the module returns, without its layer.
const STUBS: [(&str, &str, i32); 9] = [
    ("whose_info_is_null", "NULL_INFO", 0x1),
    ("without_an_init_function", "NULL_INIT", 0x5),
    ("whose_init_fails", "REFUSES", 0x8),
    ("that_refuses_to_return_its_size", "REFUSES_SIZE", 0x17),
    ("with_a_context_smaller_than_its_head", "TINY", 0x1),
    ("of_version_1", "VERSION_1", 0),
    ("without_functions", "NO_SLOTS", 0x2),
    ("that_writes_no_head", "NO_VERSION", 0x4),
    ("without_descriptions", "NO_TEXTS", 0),
];

/// Calls of `c-tests/child.c`.
const CALLS: [&str; 6] = ["setLocality", "makeSticky", "transmit", "getPollHandles", "cancel", "receive"];

/// The rest of the test's name, STUB of stub.c, and the codes that [`CALLS`] return, without the layer, on the loader
/// alone and with pcap.
const CHILDREN: [(&str, &str, [[u32; 6]; 2]); 6] = [
    ("without_a_version", "NO_VERSION", [[0x4; 6], [0x4, 0x2, 0x4, 0x4, 0x7, 0x7]]),
    ("without_functions", "NO_SLOTS", [[0x2, 0x4, 0x2, 0x2, 0x2, 0x2], [0x2, 0x2, 0x2, 0x2, 0x7, 0x7]]),
    ("of_version_1", "VERSION_1", [[0x2, 0x4, 0x0, 0x2, 0x2, 0x0], [0x2, 0x2, 0x0, 0x2, 0x2, 0x0]]),
    ("whose_context_is_cut_off", "CUT_OFF", [[0x2, 0x2, 0x0, 0x2, 0x2, 0x0], [0x2, 0x2, 0x0, 0x2, 0x2, 0x0]]),
    ("with_countless_poll_handles", "MANY_HANDLES", [[0x2, 0x4, 0x0, 0x0, 0x2, 0x0], [0x2, 0x2, 0x0, 0x1, 0x2, 0x0]]),
    (
        "with_more_poll_handles_than_stated",
        "MORE_HANDLES",
        [[0x2, 0x4, 0x0, 0x0, 0x2, 0x0], [0x2, 0x2, 0x0, 0x1, 0x2, 0x0]],
    ),
];

pub(crate) fn tests(suite: &mut Suite) {
    let needs = [&BUILD[..], &[SWTPM]].concat();
    suite.test("loader::all_calls", &needs, || all_calls(stage::command));
    let needs = [&needs[..], &[VALGRIND]].concat();
    suite.test("loader::all_calls_under_valgrind", &needs, || all_calls(valgrind));
    for (name, stub, code) in STUBS {
        suite.test(format!("loader::a_module_{name}"), &[&BUILD[..], &[VALGRIND]].concat(), move || {
            let output = open_stub(stub);
            assert_eq!(output.status.code(), Some(code), "{}", output::show(&output));
            let lines = output::stderr(&output).lines().count();
            assert!(lines <= 1, "{}", output::show(&output));
        });
    }
    for (name, stub, codes) in CHILDREN {
        suite.test(format!("loader::a_child_{name}"), &[&BUILD[..], &[VALGRIND]].concat(), move || child(stub, codes));
    }
    suite.test("loader::the_loader_logs_the_failure_of_a_silent_module", &BUILD, silent_module);
    suite.test("loader::the_default_library_comes_first", &[&BUILD[..], &[LIBTPMS]].concat(), default_library);
    for library in ["tcti-pcap", "tctildr"] {
        suite.test(format!("loader::a_default_library_that_is_{library}_does_not_recurse"), &BUILD, move || {
            default_that_tries_the_defaults(library);
        });
    }
    suite.test("loader::abrmd_is_an_alias_of_tabrmd", &BUILD, abrmd);
    suite.test("loader::a_missing_dependency_of_a_module_is_reported_once", &BUILD, lacks_a_library);
}

fn valgrind(program: PathBuf) -> Command {
    let mut valgrind = stage::command("valgrind");
    valgrind.args(LEAKS.split(' ')).arg(program);
    valgrind
}

/// Builds a stub in a directory of its own. Returns the directory and the path of the library.
fn stub(kind: &str, file: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file);
    program::shared("stub", &path, &[&format!("-DSTUB={kind}")]);
    (dir, path)
}

/// Has a program search `dir` for libraries before the staged directory.
fn before_the_stage<'a>(command: &'a mut Command, dir: &Path) -> &'a mut Command {
    command.env("LD_LIBRARY_PATH", format!("{}:{}", dir.display(), stage::lib().display()))
}

fn all_calls(command: impl Fn(PathBuf) -> Command) {
    let swtpm = Swtpm::start(SocketKind::Unix);
    let mut command = command(program::build("loader", Link::Staged("tss2-tctildr"), &[]));
    command.args(["swtpm", &swtpm.conf()]).arg(stage::library("tcti-swtpm")).env("TSS2_LOG", "all+none");
    // The distribution's module, where it is installed, connects to the system's D-Bus and prints messages.
    let (dir, _) = stub("REFUSES", "libtss2-tcti-tabrmd.so.0");
    let output = output::run(before_the_stage(&mut command, dir.path()));
    assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
    let passed = output::stdout(&output);
    assert!(passed.trim().strip_suffix(" passed, 0 failed").unwrap().parse::<u32>().unwrap() > 60, "{passed}");
}

fn open_stub(kind: &str) -> Output {
    let (_dir, path) = stub(kind, "libtss2-tcti-stub.so.0");
    output::run(valgrind(program::link_tctildr()).arg(path))
}

/// Makes all calls of a module under valgrind, through the loader and through pcap.
fn child(kind: &str, codes: [[u32; 6]; 2]) {
    let (dir, path) = stub(kind, "libtss2-tcti-stub.so.0");
    let program = program::build("child", Link::Staged("tss2-tctildr"), &[]);
    for (prefix, codes) in ["", "pcap:"].iter().zip(codes) {
        let mut command = valgrind(program.clone());
        command.arg(format!("{prefix}{}", path.display())).env("TCTI_PCAP_FILE", dir.path().join("capture"));
        let line = |(call, code): (&&str, u32)| match code {
            0 => format!("{call} 0x0\n"),
            code => format!("{call} {:#x}\n", 0xa_0000 | code),
        };
        let expected: String = CALLS.iter().zip(codes).map(line).collect();
        output::assert_same(prefix, &output::succeed(command.env("TSS2_LOG", "all+none")), &expected);
    }
}

/// The module logs nothing when its Init fails, so the loader does.
fn silent_module() {
    let (_dir, path) = stub("REFUSES", "libtss2-tcti-stub.so.0");
    let output = output::run(stage::command(program::link_tctildr()).arg(format!("{}:some conf", path.display())));
    let said =
        format!("the TCTI {} does not open with conf some conf: error 0xa0008 (NO_CONNECTION)\n", path.display());
    assert!(output::stderr(&output).ends_with(&said), "{}", output::show(&output));
}

fn default_library() {
    let dir = tempfile::tempdir().unwrap();
    symlink(stage::library("tcti-libtpms"), dir.path().join("libtss2-tcti-default.so")).unwrap();
    let output = output::run(before_the_stage(&mut stage::command(program::link_tctildr()), dir.path()));
    assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
    assert_eq!(output::stdout(&output).trim().len(), 16);
}

/// The next default is opened instead.
fn default_that_tries_the_defaults(library: &str) {
    let (dir, _) = stub("VERSION_1", "libtss2-tcti-tabrmd.so.0");
    symlink(stage::library(library), dir.path().join("libtss2-tcti-default.so")).unwrap();
    let mut command = stage::command(program::link_tctildr());
    command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent").env("TCTI_PCAP_FILE", dir.path().join("capture"));
    let output = output::run(before_the_stage(&mut command, dir.path()));
    assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
    assert_eq!(output::stdout(&output).trim(), "0102030405060708");
}

fn abrmd() {
    let (dir, _) = stub("VERSION_1", "libtss2-tcti-tabrmd.so.0");
    for name in ["abrmd", "tabrmd", "libtss2-tcti-tabrmd.so.0"] {
        let mut command = stage::command(program::link_tctildr());
        let printed = output::succeed(before_the_stage(command.arg(name), dir.path()));
        assert_eq!(printed.trim(), "0102030405060708", "{name}");
    }
}

/// The loader tries two file names for the module. Both load, and both lack the same library.
fn lacks_a_library() {
    let dir = program::readable_dir();
    let file = |name: &str| dir.path().join(name);
    program::shared("stub", &file("libneeded.so.7"), &["-DSTUB=REFUSES", "-Wl,-soname,libneeded.so.7"]);
    let needed = file("libneeded.so.7").display().to_string();
    program::shared("stub", &file("libtss2-tcti-x.so.0"), &["-DSTUB=REFUSES", "-Wl,--no-as-needed", &needed]);
    symlink("libtss2-tcti-x.so.0", file("libtss2-tcti-x.so")).unwrap();
    std::fs::remove_file(needed).unwrap();
    let output = output::run(before_the_stage(stage::command(program::link_tctildr()).arg("x"), dir.path()));
    let said = "the library of the TCTI \"x\" does not load: libneeded.so.7: cannot open shared object file: No such file \
                or directory. Install the package that contains libneeded.so.7\n";
    assert!(output::stderr(&output).ends_with(said), "{}", output::show(&output));
}
