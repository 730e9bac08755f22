// SPDX-License-Identifier: BSD-2-Clause
//! C programs that are linked with the staged libraries, by the flags of pkg-config, and the distribution's
//! libtss2-esys on our loader.

use crate::indirect;
use crate::needs::{C_CMD, C_MSSIM, C_SWTPM, C_TCTILDR};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{self, CC, ESYS, LIBTPMS, Need, PKG_CONFIG, SWTPM, TPM2_TOOLS, TSS2_HEADERS, VALGRIND};
use tss2_kit::program::{self, Link};
use tss2_kit::pty::PtyDevice;
use tss2_kit::server::{SocketKind, StateFile, Swtpm, TestTpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

const BUILD: [Need; 2] = [CC, PKG_CONFIG];

struct Case {
    name: &'static str,
    need: Need,
    start: fn() -> Box<dyn TestTpm>,
    is_pollable: bool,
}

const CASES: [Case; 3] = [
    Case { name: "libtpms", need: LIBTPMS, start: || Box::new(StateFile::new()), is_pollable: false },
    Case { name: "swtpm", need: SWTPM, start: || Box::new(Swtpm::start(SocketKind::Tcp)), is_pollable: true },
    Case { name: "device", need: SWTPM, start: || Box::new(PtyDevice::start()), is_pollable: true },
];

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("linked::with_the_module_for_swtpm", &[&BUILD[..], &[SWTPM]].concat(), swtpm_over_tcp_and_unix);
    for Case { name, need, start, is_pollable } in CASES {
        let needs = [&BUILD[..], &[need]].concat();
        suite.test(format!("linked::with_the_loader_on_{name}"), &needs, move || loader(&*start()));
        let needs = [&needs[..], &[ESYS, TSS2_HEADERS]].concat();
        suite.test(format!("linked::esys_on_{name}"), &needs, move || esys("", &*start(), is_pollable));
        let needs = [&needs[..], &[VALGRIND]].concat();
        suite.test(format!("linked::esys_on_{name}_under_valgrind"), &needs, move || {
            esys("valgrind -q --error-exitcode=99 --leak-check=full", &*start(), is_pollable);
        });
    }
    let needs = [&BUILD[..], &[LIBTPMS, SWTPM, TPM2_TOOLS]].concat();
    suite.test("linked::each_module_recognizes_its_contexts_in_the_loader", &needs, || inside(""));
    suite.test("linked::each_module_recognizes_its_contexts_in_pcap", &needs, || inside("pcap:"));
    let needs = [CC, LIBTPMS, SWTPM, C_CMD, C_MSSIM, C_SWTPM, C_TCTILDR];
    suite.test("linked::no_module_accepts_the_contexts_of_another", &needs, foreign_contexts);
    suite.test("linked::finalize_waits_for_a_call_of_another_thread", &BUILD, || ends(stage::command));
    let needs = [&BUILD[..], &[VALGRIND]].concat();
    suite.test("linked::finalize_waits_for_a_call_of_another_thread_under_valgrind", &needs, || {
        ends(|program| {
            let mut valgrind = stage::command("valgrind");
            valgrind.args(["-q", "--error-exitcode=99"]).arg(program);
            valgrind
        });
    });
    suite.test("linked::several_contexts_at_once", &[&BUILD[..], &[SWTPM]].concat(), several_contexts);
}

/// Checks that a line consists of eight bytes in hexadecimal.
fn assert_random(line: &str) {
    assert!(line.len() == 16 && line.bytes().all(|digit| digit.is_ascii_hexdigit()), "{line}");
}

fn swtpm_over_tcp_and_unix() {
    let program = program::build("link-swtpm", Link::Staged("tss2-tcti-swtpm"), &[]);
    for socket in [SocketKind::Tcp, SocketKind::Unix] {
        let swtpm = Swtpm::start(socket);
        assert_random(output::succeed(stage::command(&program).arg(swtpm.conf())).trim());
    }
}

fn loader(tpm: &dyn TestTpm) {
    assert_random(output::succeed(stage::command(program::link_tctildr()).arg(tpm.name_conf())).trim());
}

/// Modules in C and second copies of ours have the same magic numbers as ours, and so have mssim and cmd.
fn foreign_contexts() {
    let dir = program::readable_dir();
    let (swtpm, state) = (Swtpm::start(SocketKind::Unix), StateFile::new());
    let simulators = [(); 3].map(|()| Mssim::start(SocketKind::Tcp, 0));
    let [ours, copies, theirs] = simulators.each_ref().map(|simulator| simulator.conf());
    let (cat, swtpm) = ("cat".to_owned(), swtpm.conf());
    let state = state.name_conf().replace("libtpms:", "");
    let loader = "cmd:cat".to_owned();
    let copy = |name: &str| -> PathBuf {
        let copy = dir.path().join(format!("{name}.so"));
        fs::copy(stage::library(name), &copy).unwrap();
        copy
    };
    let of_c = |name: &str| need::distribution_library(&format!("libtss2-{name}.so.0")).unwrap();
    let mut command = stage::command(program::build("foreign", Link::Nothing, &["-ldl"]));
    for (name, conf) in [
        ("tcti-cmd", &cat),
        ("tcti-mssim", &ours),
        ("tcti-swtpm", &swtpm),
        ("tcti-libtpms", &state),
        ("tctildr", &loader),
    ] {
        command.arg(format!("+{}={conf}", stage::library(name).display()));
    }
    for (name, conf) in [("tcti-cmd", &cat), ("tcti-mssim", &copies), ("tctildr", &loader)] {
        command.arg(format!("+{}={conf}", copy(name).display()));
    }
    for (name, conf) in [("tcti-cmd", &cat), ("tcti-mssim", &theirs), ("tcti-swtpm", &swtpm), ("tctildr", &loader)] {
        command.arg(format!("{}={conf}", of_c(name).display()));
    }
    let printed = output::succeed(command.env("TSS2_LOG", "all+none"));
    let passed = printed.trim().strip_suffix(" passed, 0 failed").unwrap();
    assert!(passed.parse::<u32>().unwrap() > 8 * 11 * 7, "{printed}");
}

/// The command reads commands of GetRandom for eight bytes, and responds when the file exists.
fn ends(command: impl Fn(PathBuf) -> Command) {
    let program = program::build("ends", Link::Staged("tss2-tctildr tss2-tcti-cmd"), &["-lpthread"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("due").display().to_string();
    let wait = format!("while [ ! -e {file} ]; do sleep 0.02; done; rm {file}");
    let response = r"printf '\200\001\000\000\000\024\000\000\000\000\000\010\001\002\003\004\005\006\007\010'";
    let responder = format!("while head -c 12 | grep -qa .; do {wait}; {response}; done");
    let mut command = command(program);
    let printed = output::succeed(command.args([responder, file]).env("TSS2_LOG", "all+none"));
    assert_eq!(printed, "20 passed, 0 failed\n");
}

fn several_contexts() {
    let (first, second) = (Swtpm::start(SocketKind::Tcp), Swtpm::start(SocketKind::Unix));
    let mut command = stage::command(program::link_tctildr());
    command.args([first.name_conf(), second.name_conf(), first.name_conf()]);
    let printed = output::succeed(&mut command);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 3);
    lines.into_iter().for_each(assert_random);
}

fn esys(under: &str, tpm: &dyn TestTpm, is_pollable: bool) {
    let program = program::build("esys", Link::Staged("tss2-tctildr tss2-esys"), &[]);
    let mut words = under.split_whitespace().map(Into::into).chain([program.into_os_string()]);
    let mut command = stage::command(words.next().unwrap());
    command.args(words).arg(tpm.name_conf());
    assert_eq!(output::succeed(&mut command).trim(), if is_pollable { "polled" } else { "not polled" });
}

/// Each module accepts its own contexts and rejects others, although those of mssim and cmd have the same magic
/// number.
fn inside(prefix: &str) {
    let program =
        program::build("inside", Link::Staged("tss2-tctildr tss2-tcti-libtpms tss2-tcti-mssim tss2-tcti-swtpm"), &[]);
    let cases: [(&str, Box<dyn TestTpm>); 4] = [
        ("libtpms", Box::new(StateFile::new())),
        ("swtpm", Box::new(Swtpm::start(SocketKind::Unix))),
        ("mssim", Box::new(Mssim::start(SocketKind::Tcp, 0))),
        ("cmd", indirect::command()),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (name, tpm) in cases {
        let mut command = stage::command(&program);
        command.arg(format!("{prefix}{}", tpm.name_conf())).env("TCTI_PCAP_FILE", dir.path().join(name));
        let code = |module: &str| format!("{module} {}\n", if module == name { "0x0" } else { "0xa0003" });
        let expected: String = ["libtpms", "swtpm", "mssim"].map(code).concat();
        output::assert_same(name, &output::succeed(command.env("TSS2_LOG", "all+none")), &expected);
    }
}
