// SPDX-License-Identifier: BSD-2-Clause
//! C programs that are linked with the staged libraries as pkg-config says, and the distribution's libtss2-esys over
//! our loader.

use tss2_kit::behind;
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{CC, ESYS, LIBTPMS, Need, PKG_CONFIG, SWTPM, TPM2_TOOLS, TSS2_HEADERS, VALGRIND};
use tss2_kit::program::{self, Link};
use tss2_kit::pty::PtyDevice;
use tss2_kit::server::{Socket, StateFile, Swtpm, Tpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

const BUILD: [Need; 2] = [CC, PKG_CONFIG];

/// The transport, what it needs, how it starts, and whether it can be polled.
type Case = (&'static str, Need, fn() -> Box<dyn Tpm>, bool);

const CASES: [Case; 3] = [
    ("libtpms", LIBTPMS, || Box::new(StateFile::new()), false),
    ("swtpm", SWTPM, || Box::new(Swtpm::start(Socket::Tcp)), true),
    ("device", SWTPM, || Box::new(PtyDevice::start()), true),
];

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("linked::with_the_module_for_swtpm", &[&BUILD[..], &[SWTPM]].concat(), swtpm_over_tcp_and_unix);
    for (name, need, start, polled) in CASES {
        let needs = [&BUILD[..], &[need]].concat();
        suite.test(format!("linked::with_the_loader_on_{name}"), &needs, move || loader(&*start()));
        let needs = [&needs[..], &[ESYS, TSS2_HEADERS]].concat();
        suite.test(format!("linked::esys_on_{name}"), &needs, move || esys("", &*start(), polled));
        let needs = [&needs[..], &[VALGRIND]].concat();
        suite.test(format!("linked::esys_on_{name}_under_valgrind"), &needs, move || {
            esys("valgrind -q --error-exitcode=99 --leak-check=full", &*start(), polled);
        });
    }
    let needs = [&BUILD[..], &[LIBTPMS, SWTPM, TPM2_TOOLS]].concat();
    suite.test("linked::a_program_that_looks_inside_finds_its_module", &needs, || inside(""));
    suite.test("linked::a_program_that_looks_inside_finds_what_is_recorded", &needs, || inside("pcap:"));
    suite.test("linked::two_contexts_at_once", &[&BUILD[..], &[SWTPM]].concat(), two_contexts);
}

/// Eight random bytes in hexadecimal.
fn assert_random(line: &str) {
    assert!(line.len() == 16 && line.bytes().all(|digit| digit.is_ascii_hexdigit()), "{line}");
}

fn swtpm_over_tcp_and_unix() {
    let program = program::build("link-swtpm", Link::Staged("tss2-tcti-swtpm"), &[]);
    for socket in [Socket::Tcp, Socket::Unix] {
        let swtpm = Swtpm::start(socket);
        assert_random(output::succeed(stage::command(&program).arg(swtpm.conf())).trim());
    }
}

fn loader(tpm: &dyn Tpm) {
    assert_random(output::succeed(stage::command(program::link_tctildr()).arg(tpm.name_conf())).trim());
}

fn two_contexts() {
    let (first, second) = (Swtpm::start(Socket::Tcp), Swtpm::start(Socket::Unix));
    let mut command = stage::command(program::link_tctildr());
    command.args([first.name_conf(), second.name_conf(), first.name_conf()]);
    let printed = output::succeed(&mut command);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 3);
    lines.into_iter().for_each(assert_random);
}

fn esys(under: &str, tpm: &dyn Tpm, polled: bool) {
    let program = program::build("esys", Link::Staged("tss2-tctildr tss2-esys"), &[]);
    let mut words = under.split_whitespace().map(Into::into).chain([program.into_os_string()]);
    let mut command = stage::command(words.next().unwrap());
    command.args(words).arg(tpm.name_conf());
    assert_eq!(output::succeed(&mut command).trim(), if polled { "polled" } else { "not polled" });
}

/// Each module takes its own contexts and no others. Those for mssim and for commands have the same magic.
fn inside(through: &str) {
    let program =
        program::build("inside", Link::Staged("tss2-tctildr tss2-tcti-libtpms tss2-tcti-mssim tss2-tcti-swtpm"), &[]);
    let cases: [(&str, Box<dyn Tpm>); 4] = [
        ("libtpms", Box::new(StateFile::new())),
        ("swtpm", Box::new(Swtpm::start(Socket::Unix))),
        ("mssim", Box::new(Mssim::start(Socket::Tcp, 0))),
        ("cmd", behind::command()),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (name, tpm) in cases {
        let mut command = stage::command(&program);
        command.arg(format!("{through}{}", tpm.name_conf())).env("TCTI_PCAP_FILE", dir.path().join(name));
        let code = |module: &str| format!("{module} {}\n", if module == name { "0x0" } else { "0xa0003" });
        let wanted: String = ["libtpms", "swtpm", "mssim"].map(code).concat();
        output::assert_same(name, &output::succeed(command.env("TSS2_LOG", "all+none")), &wanted);
    }
}
