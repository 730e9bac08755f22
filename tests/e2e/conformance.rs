// SPDX-License-Identifier: BSD-2-Clause
//! `c-tests/conformance.c` on every module with every kind of TPM behind it, without and with valgrind.

use crate::indirect;
use std::process::Command;
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{CC, LIBTPMS, Need, SWTPM, VALGRIND};
use tss2_kit::pty::PtyDevice;
use tss2_kit::server::{SocketKind, StateFile, Swtpm, TestTpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};

/// One module in one configuration.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) library: &'static str,
    pub(crate) init: &'static str,
    pub(crate) needs: &'static [Need],
    /// Minimum number of checks: a program that skips some does not pass.
    checks: u32,
    /// Whether the module in C accepts this configuration, so that both can be compared.
    pub(crate) is_in_c: bool,
    /// Put before a configuration string that is a command, so that the command does not load the libraries of Debian
    /// sid.
    pub(crate) sid_prefix: &'static str,
    /// Starts the TPM and returns the configuration string.
    pub(crate) start: fn() -> (Box<dyn TestTpm>, String),
}

/// The values of most cases.
const WITH_TPM: Case = Case {
    name: "",
    library: "",
    init: "",
    needs: &[],
    checks: 150,
    is_in_c: true,
    sid_prefix: "",
    start: || (Box::new(NoTpm), "-".to_owned()),
};

/// No TPM: the module has none, or one of its own.
struct NoTpm;

impl TestTpm for NoTpm {
    fn name_conf(&self) -> String {
        String::new()
    }
}

fn swtpm(socket: SocketKind, prefix: &str, suffix: &str) -> (Box<dyn TestTpm>, String) {
    let swtpm = Swtpm::start(socket);
    let conf = format!("{prefix}{}{suffix}", swtpm.conf());
    (Box::new(swtpm), conf)
}

fn state_file() -> (Box<dyn TestTpm>, String) {
    let file = StateFile::new();
    let conf = file.path().to_str().unwrap().to_owned();
    (Box::new(file), conf)
}

fn device() -> (Box<dyn TestTpm>, String) {
    let device = PtyDevice::start();
    let conf = device.path().to_str().unwrap().to_owned();
    (Box::new(device), conf)
}

const LIBTPMS_INIT: &str = "Tss2_Tcti_Libtpms_Init";
const MSSIM_INIT: &str = "Tss2_Tcti_Mssim_Init";
const SWTPM_INIT: &str = "Tss2_Tcti_Swtpm_Init";

fn mssim(socket: SocketKind, prefix: &str) -> (Box<dyn TestTpm>, String) {
    let mssim = Mssim::start(socket, 0);
    let conf = format!("{prefix}{}", mssim.conf());
    (Box::new(mssim), conf)
}

fn command() -> (Box<dyn TestTpm>, String) {
    let tpm = indirect::command();
    let conf = tpm.name_conf().strip_prefix("cmd:").unwrap().to_owned();
    (tpm, conf)
}

pub(crate) const CASES: [Case; 12] = [
    Case { name: "libtpms_in_memory", library: "tcti-libtpms", init: LIBTPMS_INIT, needs: &[LIBTPMS], ..WITH_TPM },
    Case {
        name: "libtpms_with_a_state_file",
        library: "tcti-libtpms",
        init: LIBTPMS_INIT,
        needs: &[LIBTPMS],
        start: state_file,
        ..WITH_TPM
    },
    Case {
        name: "swtpm_over_tcp",
        library: "tcti-swtpm",
        init: SWTPM_INIT,
        needs: &[SWTPM],
        start: || swtpm(SocketKind::Tcp, "", ""),
        ..WITH_TPM
    },
    Case {
        name: "swtpm_over_a_unix_socket",
        library: "tcti-swtpm",
        init: SWTPM_INIT,
        needs: &[SWTPM],
        start: || swtpm(SocketKind::Unix, "", ""),
        ..WITH_TPM
    },
    Case {
        name: "swtpm_keeping_its_connection",
        library: "tcti-swtpm",
        init: SWTPM_INIT,
        needs: &[SWTPM],
        is_in_c: false,
        start: || swtpm(SocketKind::Tcp, "", ",keep=true"),
        ..WITH_TPM
    },
    Case {
        name: "device",
        library: "tcti-device",
        init: "Tss2_Tcti_Device_Init",
        needs: &[SWTPM],
        start: device,
        ..WITH_TPM
    },
    Case {
        name: "mssim_over_tcp",
        library: "tcti-mssim",
        init: MSSIM_INIT,
        needs: &[LIBTPMS],
        start: || mssim(SocketKind::Tcp, ""),
        ..WITH_TPM
    },
    Case {
        name: "mssim_over_a_unix_socket",
        library: "tcti-mssim",
        init: MSSIM_INIT,
        needs: &[LIBTPMS],
        start: || mssim(SocketKind::Unix, ""),
        ..WITH_TPM
    },
    Case {
        name: "a_command",
        library: "tcti-cmd",
        init: "Tss2_Tcti_Cmd_Init",
        needs: &indirect::COMMAND,
        sid_prefix: "env -u LD_LIBRARY_PATH ",
        start: command,
        ..WITH_TPM
    },
    Case {
        name: "pcap_with_mssim",
        library: "tcti-pcap",
        init: "Tss2_Tcti_Pcap_Init",
        needs: &[LIBTPMS],
        start: || mssim(SocketKind::Unix, "mssim:"),
        ..WITH_TPM
    },
    Case {
        name: "tctildr_with_swtpm",
        library: "tctildr",
        init: "Tss2_Tcti_TctiLdr_Init",
        needs: &[SWTPM],
        start: || swtpm(SocketKind::Unix, "swtpm:", ""),
        ..WITH_TPM
    },
    Case { name: "null", library: "tcti-null", init: "Tss2_Tcti_Null_Init", needs: &[], checks: 40, ..WITH_TPM },
];

pub(crate) fn tests(suite: &mut Suite) {
    for case in CASES {
        let needs = [case.needs, &[CC]].concat();
        suite.test(format!("conformance::{}", case.name), &needs, move || {
            check(&case, stage::command(program::conformance()));
        });
        let needs = [&needs[..], &[VALGRIND]].concat();
        suite.test(format!("conformance::{}_under_valgrind", case.name), &needs, move || {
            let mut valgrind = stage::command("valgrind");
            valgrind.args(["-q", "--error-exitcode=99", "--leak-check=full", "--num-callers=30"]);
            valgrind.arg("--errors-for-leak-kinds=definite,indirect");
            check(&case, valgrind.arg(program::conformance()));
        });
    }
}

fn check(case: &Case, mut command: impl std::borrow::BorrowMut<Command>) {
    let (_tpm, conf) = (case.start)();
    let command: &mut Command = command.borrow_mut();
    let output = output::run(
        command
            .arg(stage::library(case.library))
            .args([case.init, &conf])
            .env("TSS2_LOG", "all+none")
            .env("TCTI_PCAP_FILE", "/dev/null"),
    );
    let has_logged = output::stderr(&output).lines().any(|line| !is_about_pidfd_open(line));
    assert!(output.status.success() && !has_logged, "{}", output::show(&output));
    output::passes(&output::stdout(&output), case.checks);
}

/// Whether a line is valgrind's warning about the system call 434, which versions before 3.21 do not know. The name of
/// the architecture precedes the text.
fn is_about_pidfd_open(line: &str) -> bool {
    let warning = [
        "-linux syscall: 434",
        "You may be able to write your own handler.",
        "Read the file README_MISSING_SYSCALL_OR_IOCTL.",
        "Nevertheless we consider this a bug.  Please report",
        "it at http://valgrind.org/support/bug_reports.html.",
    ];
    line.starts_with("--") && warning.iter().any(|text| line.ends_with(text))
}
