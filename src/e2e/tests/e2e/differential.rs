// SPDX-License-Identifier: BSD-2-Clause
//! The same program on the distribution's C library and on ours, on the same kind of TPM. Each line in which the
//! transcripts differ stands in `c-tests/allowed-differences.txt`, and nothing else stands there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use tss2_e2e::behind;
use tss2_e2e::mssim::Mssim;
use tss2_e2e::need::{
    self, C_CMD, C_DEVICE, C_MSSIM, C_SWTPM, C_TCTILDR, CC, LIBTPMS, PKG_CONFIG, RELEASE, SWTPM, TPM2_TOOLS,
};
use tss2_e2e::program::Link;
use tss2_e2e::pty::PtyDevice;
use tss2_e2e::server::{Socket, Swtpm};
use tss2_e2e::suite::Suite;
use tss2_e2e::{output, program, stage};

const MODULES: [&str; 5] = ["device", "swtpm", "tctildr", "mssim", "cmd"];

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("differential::each_allowed_difference_names_a_module", &[], each_names_a_module);
    suite.test("differential::swtpm_over_tcp", &[CC, SWTPM, C_SWTPM, RELEASE], || swtpm(Socket::Tcp));
    suite.test("differential::swtpm_over_a_unix_socket", &[CC, SWTPM, C_SWTPM, RELEASE], || swtpm(Socket::Unix));
    suite.test("differential::device", &[CC, SWTPM, C_DEVICE, RELEASE], device);
    suite.test("differential::mssim", &[CC, LIBTPMS, C_MSSIM, RELEASE], mssim);
    suite.test("differential::cmd", &[CC, SWTPM, TPM2_TOOLS, C_CMD, RELEASE], cmd);
    suite.test("differential::tctildr", &[CC, PKG_CONFIG, SWTPM, C_SWTPM, C_TCTILDR, RELEASE], tctildr);
}

/// One line of the file, without its reason: "module scenario: call: C -> ours".
fn allowed() -> Vec<(String, String)> {
    let text = fs::read_to_string(stage::c_tests("allowed-differences.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| {
        let (difference, reason) = line.split_once("  # ").unwrap_or_else(|| panic!("no reason: {line}"));
        assert!(!reason.trim().is_empty(), "no reason: {line}");
        let (module, difference) = difference.split_once(" | ").unwrap_or_else(|| panic!("no module: {line}"));
        (module.trim().to_owned(), difference.trim().to_owned())
    };
    lines.map(split).collect()
}

fn each_names_a_module() {
    for (module, difference) in allowed() {
        assert!(MODULES.contains(&module.as_str()), "{module} | {difference}");
    }
}

/// Compares two transcripts with what is allowed to differ.
fn compare(module: &str, c: &str, ours: &str) {
    let (c, ours): (Vec<&str>, Vec<&str>) = (c.lines().collect(), ours.lines().collect());
    let split = |line: &'_ str| -> (String, String) {
        let (call, code) = line.rsplit_once(": ").unwrap_or_else(|| panic!("no code: {line}"));
        (call.to_owned(), code.to_owned())
    };
    let mut found = BTreeSet::new();
    for (c, ours) in c.iter().zip(&ours) {
        let ((c_call, c_code), (call, code)) = (split(c), split(ours));
        assert_eq!(c_call, call, "the transcripts go different ways");
        if c_code != code {
            found.insert(format!("{call}: {c_code} -> {code}"));
        }
    }
    assert_eq!(c.len(), ours.len(), "one transcript is longer");
    assert!(c.len() > 30, "the transcript is too short");
    let expected: BTreeSet<String> =
        allowed().into_iter().filter(|(of, _)| of == module).map(|(_, difference)| difference).collect();
    let text = |set: BTreeSet<String>| set.into_iter().map(|line| format!("{module} | {line}\n")).collect::<String>();
    output::assert_same("c-tests/allowed-differences.txt is not what differs", &text(found), &text(expected));
}

fn transcript(library: &Path, init: &str, conf: &str) -> String {
    let mut command = stage::distribution_command(program::conformance());
    command.arg("--transcript").arg(library).args([init, conf]).env("TSS2_LOG", "all+none");
    output::succeed(&mut command)
}

fn c_library(name: &str) -> std::path::PathBuf {
    need::distribution_library(&format!("libtss2-{name}.so.0")).unwrap()
}

fn swtpm(socket: Socket) {
    let run = |library: &Path| transcript(library, "Tss2_Tcti_Swtpm_Init", &Swtpm::start(socket).conf());
    compare(MODULES[1], &run(&c_library("tcti-swtpm")), &run(&stage::library("tcti-swtpm")));
}

fn device() {
    let run = |library: &Path| {
        let device = PtyDevice::start();
        transcript(library, "Tss2_Tcti_Device_Init", device.path().to_str().unwrap())
    };
    compare(MODULES[0], &run(&c_library("tcti-device")), &run(&stage::library("tcti-device")));
}

fn mssim() {
    let run = |library: &Path| transcript(library, "Tss2_Tcti_Mssim_Init", &Mssim::start(Socket::Tcp, 0).conf());
    compare(MODULES[3], &run(&c_library("tcti-mssim")), &run(&stage::library("tcti-mssim")));
}

fn cmd() {
    let run = |library: &Path| {
        let tpm = behind::command();
        transcript(library, "Tss2_Tcti_Cmd_Init", tpm.name_conf().strip_prefix("cmd:").unwrap())
    };
    compare(MODULES[4], &run(&c_library("tcti-cmd")), &run(&stage::library("tcti-cmd")));
}

fn loader_program() -> std::path::PathBuf {
    program::build("loader", Link::Staged("tss2-tctildr"), &[])
}

fn tctildr() {
    let run = |mut command: Command, library: &Path| {
        let swtpm = Swtpm::start(Socket::Unix);
        command.args(["--transcript", "swtpm", &swtpm.conf()]).arg(library).env("TSS2_LOG", "all+none");
        output::succeed(&mut command)
    };
    let c = run(stage::distribution_command(loader_program()), &c_library("tcti-swtpm"));
    let ours = run(stage::command(loader_program()), &stage::library("tcti-swtpm"));
    compare(MODULES[2], &c, &ours);
}
