// SPDX-License-Identifier: BSD-2-Clause
//! Runs the same program on a C library and on ours, with the same kind of TPM, and compares the transcripts. The C
//! libraries are the distribution's, and the newest in Debian. `c-tests/allowed-differences.txt` lists exactly the
//! lines that differ.

use crate::conformance::{CASES, Case};
use crate::needs::{C_CMD, C_DEVICE, C_MSSIM, C_SWTPM, C_TCTILDR, DISTRIBUTION_RELEASE, RELEASE, SID, SID_RELEASE};
use crate::{indirect, sid};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{self, CC, LIBTPMS, PKG_CONFIG, SWTPM, TPM2_TOOLS};
use tss2_kit::program::Link;
use tss2_kit::pty::PtyDevice;
use tss2_kit::server::{SocketKind, StateFile, Swtpm, TestTpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};

const MODULES: [&str; 9] = ["device", "swtpm", "tctildr", "tctildr-context", "mssim", "cmd", "libtpms", "pcap", "null"];

/// A release of the modules in C.
#[derive(Clone, Copy)]
struct CModules {
    release: &'static str,
    library: fn(&str) -> PathBuf,
    command: fn(PathBuf) -> Command,
}

const OF_THE_DISTRIBUTION: CModules = CModules {
    release: RELEASE,
    library: |name| need::distribution_library(&format!("libtss2-{name}.so.0")).unwrap(),
    command: |program| stage::distribution_command(program),
};
const OF_SID: CModules =
    CModules { release: SID_RELEASE, library: sid::library, command: |program| sid::command(program) };

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("differential::each_allowed_difference_names_a_module", &[], differences_name_modules);
    suite.test("differential::swtpm_over_tcp", &[CC, SWTPM, C_SWTPM, DISTRIBUTION_RELEASE], || swtpm(SocketKind::Tcp));
    suite.test("differential::swtpm_over_a_unix_socket", &[CC, SWTPM, C_SWTPM, DISTRIBUTION_RELEASE], || {
        swtpm(SocketKind::Unix)
    });
    suite.test("differential::device", &[CC, SWTPM, C_DEVICE, DISTRIBUTION_RELEASE], device);
    suite.test("differential::mssim", &[CC, LIBTPMS, C_MSSIM, DISTRIBUTION_RELEASE], mssim);
    suite.test("differential::cmd", &[CC, SWTPM, TPM2_TOOLS, C_CMD, DISTRIBUTION_RELEASE], cmd);
    let needs = [CC, PKG_CONFIG, SWTPM, C_SWTPM, C_TCTILDR, DISTRIBUTION_RELEASE];
    suite.test("differential::tctildr", &needs, || loader(OF_THE_DISTRIBUTION));
    for case in CASES.into_iter().filter(|case| case.is_in_c) {
        let needs = [case.needs, &[CC, SID]].concat();
        suite.test(format!("differential::of_sid_{}", case.name), &needs, move || of_sid(case));
    }
    let needs = [LIBTPMS, TPM2_TOOLS, SID];
    suite.test("differential::of_sid_state_files_are_read_on_both_sides", &needs, state_file);
    suite.test("differential::of_sid_tctildr", &[CC, PKG_CONFIG, SWTPM, SID], || loader(OF_SID));
}

/// Returns the listed differences of one release as pairs of module and "scenario: call: C -> ours", without the
/// reasons.
fn allowed(release: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(stage::c_tests("allowed-differences.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| {
        let (difference, reason) = line.split_once("  # ").unwrap_or_else(|| panic!("no reason: {line}"));
        assert!(!reason.trim().is_empty(), "no reason: {line}");
        let (module, difference) = difference.split_once(" | ").unwrap_or_else(|| panic!("no module: {line}"));
        let (module, of) = module.split_once(' ').unwrap_or((module, release));
        (of == release).then(|| (module.to_owned(), difference.trim().to_owned()))
    };
    lines.filter_map(split).collect()
}

fn differences_name_modules() {
    let (old, new) = (allowed(OF_THE_DISTRIBUTION.release), allowed(OF_SID.release));
    for (module, difference) in old.iter().chain(&new) {
        assert!(MODULES.contains(&module.as_str()), "{module} | {difference}");
    }
}

/// Checks that two transcripts differ exactly as listed.
fn compare(module: &str, release: &str, c: &str, ours: &str) {
    let (c, ours): (Vec<&str>, Vec<&str>) = (c.lines().collect(), ours.lines().collect());
    let split = |line: &'_ str| -> (String, String) {
        let (call, code) = line.rsplit_once(": ").unwrap_or_else(|| panic!("no code: {line}"));
        (call.to_owned(), code.to_owned())
    };
    let mut found = BTreeSet::new();
    for (c, ours) in c.iter().zip(&ours) {
        let ((c_call, c_code), (call, code)) = (split(c), split(ours));
        assert_eq!(c_call, call, "the transcripts diverge");
        if c_code != code {
            found.insert(format!("{call}: {c_code} -> {code}"));
        }
    }
    assert_eq!(c.len(), ours.len(), "one transcript is longer");
    assert!(c.len() > 20, "the transcript is too short");
    let expected: BTreeSet<String> =
        allowed(release).into_iter().filter(|(of, _)| of == module).map(|(_, difference)| difference).collect();
    let text = |set: BTreeSet<String>| set.into_iter().map(|line| format!("{module} | {line}\n")).collect::<String>();
    let what = format!("c-tests/allowed-differences.txt does not match the differences from {release}");
    output::assert_same(&what, &text(found), &text(expected));
}

/// Returns the transcript of a library.
fn transcript(mut conformance: Command, library: &Path, init: &str, conf: &str) -> String {
    conformance.arg("--transcript").arg(library).args([init, conf]);
    output::succeed(conformance.env("TSS2_LOG", "all+none").env("TCTI_PCAP_FILE", "/dev/null"))
}

fn of_the_distribution(module: &str, init: &str, start: impl Fn() -> (Box<dyn TestTpm>, String)) {
    let run = |library: &Path| {
        let (_tpm, conf) = start();
        transcript((OF_THE_DISTRIBUTION.command)(program::conformance()), library, init, &conf)
    };
    let name = format!("tcti-{module}");
    let (c, ours) = (run(&(OF_THE_DISTRIBUTION.library)(&name)), run(&stage::library(&name)));
    compare(module, OF_THE_DISTRIBUTION.release, &c, &ours);
}

/// Compares with the modules of Debian sid. Programs that a module starts run on the libraries of this machine.
fn of_sid(case: Case) {
    let run = |command: Command, library: &Path| {
        let (_tpm, conf) = (case.start)();
        transcript(command, library, case.init, &format!("{}{conf}", case.sid_prefix))
    };
    let c = run((OF_SID.command)(program::conformance()), &(OF_SID.library)(case.library));
    let ours = run(stage::command(program::conformance()), &stage::library(case.library));
    let module = if case.library == "tctildr" { "tctildr-context" } else { case.library.trim_start_matches("tcti-") };
    compare(module, OF_SID.release, &c, &ours);
}

fn swtpm(socket: SocketKind) {
    of_the_distribution("swtpm", "Tss2_Tcti_Swtpm_Init", || {
        let swtpm = Swtpm::start(socket);
        let conf = swtpm.conf();
        (Box::new(swtpm), conf)
    });
}

fn device() {
    of_the_distribution("device", "Tss2_Tcti_Device_Init", || {
        let device = PtyDevice::start();
        let conf = device.path().to_str().unwrap().to_owned();
        (Box::new(device), conf)
    });
}

fn mssim() {
    of_the_distribution("mssim", "Tss2_Tcti_Mssim_Init", || {
        let mssim = Mssim::start(SocketKind::Tcp, 0);
        let conf = mssim.conf();
        (Box::new(mssim), conf)
    });
}

fn cmd() {
    of_the_distribution("cmd", "Tss2_Tcti_Cmd_Init", || {
        let tpm = indirect::command();
        let conf = tpm.name_conf().strip_prefix("cmd:").unwrap().to_owned();
        (tpm, conf)
    });
}

/// Compares all calls of the loader.
fn loader(c_modules: CModules) {
    let run = |mut command: Command, library: &Path| {
        let swtpm = Swtpm::start(SocketKind::Unix);
        command.args(["--transcript", "swtpm", &swtpm.conf()]).arg(library).env("TSS2_LOG", "all+none");
        output::succeed(&mut command)
    };
    let program = || program::build("loader", Link::Staged("tss2-tctildr"), &[]);
    let c = run((c_modules.command)(program()), &(c_modules.library)("tcti-swtpm"));
    let ours = run(stage::command(program()), &stage::library("tcti-swtpm"));
    compare("tctildr", c_modules.release, &c, &ours);
}

/// Each side reads the NV index that the other one has defined and written.
fn state_file() {
    let file = StateFile::new();
    let data = file.path().with_extension("data");
    let tool = |name: &str| need::program(name).unwrap();
    let run = |command: fn(PathBuf) -> Command, words: &str| {
        let mut words = words.split(' ');
        let mut command = command(tool(words.next().unwrap()));
        let command = command.args(words).arg("--tcti").arg(file.name_conf()).env("TSS2_LOG", "all+none");
        output::succeed(command.stdin(File::open(&data).unwrap()))
    };
    let ours: fn(PathBuf) -> Command = |program| stage::command(program);
    for (writer, reader, index, text) in
        [(ours, OF_SID.command, "0x1500001", "written here"), (OF_SID.command, ours, "0x1500002", "written in C")]
    {
        fs::write(&data, text).unwrap();
        run(writer, &format!("tpm2_nvdefine --hierarchy o --size {} {index}", text.len()));
        run(writer, &format!("tpm2_nvwrite --hierarchy o --input - {index}"));
        assert_eq!(run(reader, &format!("tpm2_nvread --hierarchy o --size {} {index}", text.len())), text);
    }
}
