// SPDX-License-Identifier: BSD-2-Clause
//! `c-tests/conformance.c` on every module with every kind of TPM behind it, once as it is and once under valgrind.

use std::process::Command;
use tss2_kit::behind;
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{CC, LIBTPMS, Need, SWTPM, VALGRIND};
use tss2_kit::pty::PtyDevice;
use tss2_kit::server::{Socket, StateFile, Swtpm, Tpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};

/// One module in one configuration.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) library: &'static str,
    pub(crate) init: &'static str,
    pub(crate) needs: &'static [Need],
    /// How many checks it has at least: a program that skips them does not pass.
    checks: u32,
    /// Starts the TPM and gives the configuration string.
    pub(crate) start: fn() -> (Box<dyn Tpm>, String),
}

/// A module without a TPM of its own behind it.
struct NoTpm;

impl Tpm for NoTpm {
    fn name_conf(&self) -> String {
        String::new()
    }
}

fn swtpm(socket: Socket, prefix: &str, suffix: &str) -> (Box<dyn Tpm>, String) {
    let swtpm = Swtpm::start(socket);
    let conf = format!("{prefix}{}{suffix}", swtpm.conf());
    (Box::new(swtpm), conf)
}

fn state_file() -> (Box<dyn Tpm>, String) {
    let file = StateFile::new();
    let conf = file.path().to_str().unwrap().to_owned();
    (Box::new(file), conf)
}

fn device() -> (Box<dyn Tpm>, String) {
    let device = PtyDevice::start();
    let conf = device.path().to_str().unwrap().to_owned();
    (Box::new(device), conf)
}

const LIBTPMS_INIT: &str = "Tss2_Tcti_Libtpms_Init";
const MSSIM_INIT: &str = "Tss2_Tcti_Mssim_Init";
const SWTPM_INIT: &str = "Tss2_Tcti_Swtpm_Init";

fn mssim(socket: Socket, prefix: &str) -> (Box<dyn Tpm>, String) {
    let mssim = Mssim::start(socket, 0);
    let conf = format!("{prefix}{}", mssim.conf());
    (Box::new(mssim), conf)
}

fn command() -> (Box<dyn Tpm>, String) {
    let tpm = behind::command();
    let conf = tpm.name_conf().strip_prefix("cmd:").unwrap().to_owned();
    (tpm, conf)
}

pub(crate) const CASES: [Case; 12] = [
    Case {
        name: "libtpms_in_memory",
        library: "tcti-libtpms",
        init: LIBTPMS_INIT,
        needs: &[LIBTPMS],
        checks: 150,
        start: || (Box::new(NoTpm), "-".to_owned()),
    },
    Case {
        name: "libtpms_with_a_state_file",
        library: "tcti-libtpms",
        init: LIBTPMS_INIT,
        needs: &[LIBTPMS],
        checks: 150,
        start: state_file,
    },
    Case {
        name: "swtpm_over_tcp",
        library: "tcti-swtpm",
        init: SWTPM_INIT,
        needs: &[SWTPM],
        checks: 150,
        start: || swtpm(Socket::Tcp, "", ""),
    },
    Case {
        name: "swtpm_over_a_unix_socket",
        library: "tcti-swtpm",
        init: SWTPM_INIT,
        needs: &[SWTPM],
        checks: 150,
        start: || swtpm(Socket::Unix, "", ""),
    },
    Case {
        name: "swtpm_keeping_its_connection",
        library: "tcti-swtpm",
        init: SWTPM_INIT,
        needs: &[SWTPM],
        checks: 150,
        start: || swtpm(Socket::Tcp, "", ",keep=true"),
    },
    Case {
        name: "device",
        library: "tcti-device",
        init: "Tss2_Tcti_Device_Init",
        needs: &[SWTPM],
        checks: 150,
        start: device,
    },
    Case {
        name: "mssim_over_tcp",
        library: "tcti-mssim",
        init: MSSIM_INIT,
        needs: &[LIBTPMS],
        checks: 150,
        start: || mssim(Socket::Tcp, ""),
    },
    Case {
        name: "mssim_over_a_unix_socket",
        library: "tcti-mssim",
        init: MSSIM_INIT,
        needs: &[LIBTPMS],
        checks: 150,
        start: || mssim(Socket::Unix, ""),
    },
    Case {
        name: "a_command",
        library: "tcti-cmd",
        init: "Tss2_Tcti_Cmd_Init",
        needs: &behind::COMMAND,
        checks: 150,
        start: command,
    },
    Case {
        name: "pcap_with_mssim",
        library: "tcti-pcap",
        init: "Tss2_Tcti_Pcap_Init",
        needs: &[LIBTPMS],
        checks: 150,
        start: || mssim(Socket::Unix, "mssim:"),
    },
    Case {
        name: "tctildr_with_swtpm",
        library: "tctildr",
        init: "Tss2_Tcti_TctiLdr_Init",
        needs: &[SWTPM],
        checks: 150,
        start: || swtpm(Socket::Unix, "swtpm:", ""),
    },
    Case {
        name: "null",
        library: "tcti-null",
        init: "Tss2_Tcti_Null_Init",
        needs: &[],
        checks: 40,
        start: || (Box::new(NoTpm), "-".to_owned()),
    },
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
    let said = output::stderr(&output).lines().any(|line| !is_about_pidfd_open(line));
    assert!(output.status.success() && !said, "{}", output::show(&output));
    output::passes(&output::stdout(&output), case.checks);
}

/// What valgrind before 3.21 says of a system call that it does not know. The number is in the first of the lines; they
/// are the same on every architecture but for its name.
fn is_about_pidfd_open(line: &str) -> bool {
    let said = [
        "-linux syscall: 434",
        "You may be able to write your own handler.",
        "Read the file README_MISSING_SYSCALL_OR_IOCTL.",
        "Nevertheless we consider this a bug.  Please report",
        "it at http://valgrind.org/support/bug_reports.html.",
    ];
    line.starts_with("--") && said.iter().any(|said| line.ends_with(said))
}
