// SPDX-License-Identifier: BSD-2-Clause
//! The module for the kernel's devices on the kernel's driver, with a swtpm as the chip.

use crate::programs;
use crate::steps::Steps;
use crate::user::PublicCopy;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tss2_kit::need::{ESYS, Need, OPENSSL, SETPRIV, TPM2_TOOLS, TSS2_HEADERS};
use tss2_kit::scenario::asynchronous::{EMULATED, OpenedBy, waits_without_work};
use tss2_kit::scenario::tools;
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};

/// Codes of the TCTI layer, which are the exit status of `link-tctildr`.
pub(crate) const IO_ERROR: i32 = 0xa;
pub(crate) const NOT_PERMITTED: i32 = 0xc;

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("device::the_default_is_the_resource_manager", &[], default);
    for device in ["tpm0", "tpmrm0"] {
        suite.test(format!("device::all_scenarios_on_{device}"), &[], move || scenarios(device));
        suite.test(format!("device::conformance_on_{device}"), &[], move || conformance(device));
        suite.test(format!("device::all_steps_on_{device}"), &[TPM2_TOOLS, OPENSSL], move || {
            tools::all_steps(&format!("device:/dev/{device}"));
        });
        suite.test(format!("device::esys_waits_without_work_on_{device}"), &[ESYS, TSS2_HEADERS], move || {
            waits_without_work(OpenedBy::Loader, &[format!("device:/dev/{device}")], &EMULATED);
        });
    }
    suite.test("device::eight_programs_keep_their_keys_at_the_same_time", &[], eight_programs);
    suite.test("device::tpm0_can_be_opened_once", &[], second_open);
    suite.test("device::the_message_without_permission", &[SETPRIV, Need::Root], no_permission);
    suite.test("device::the_message_for_an_unknown_handle", &[TPM2_TOOLS], unknown_handle);
}

/// Without a name the loader loads the module for devices, and without a path the module opens /dev/tpmrm0.
fn default() {
    for name_conf in [None, Some("device")] {
        let steps = Steps::open(name_conf);
        let fds = fs::read_dir(format!("/proc/{}/fd", steps.id())).unwrap();
        let files: Vec<PathBuf> = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        assert!(files.iter().any(|file| file == Path::new("/dev/tpmrm0")), "{files:?}");
        let maps = fs::read_to_string(format!("/proc/{}/maps", steps.id())).unwrap();
        assert!(maps.contains(stage::library("tcti-device").canonicalize().unwrap().to_str().unwrap()), "{maps}");
        steps.finish();
    }
}

/// Returns the first line that a process prints.
fn line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn scenarios(device: &str) {
    let mut command = stage::command(programs::device());
    command.arg(format!("/dev/{device}")).env("TSS2_LOG", "all+none");
    output::passes(&output::succeed(&mut command), 70);
}

fn conformance(device: &str) {
    let mut command = stage::command(program::conformance());
    command.arg(stage::library("tcti-device")).args(["Tss2_Tcti_Device_Init", &format!("/dev/{device}")]);
    output::passes(&output::succeed(command.env("TSS2_LOG", "all+none")), 150);
}

/// They have sixteen keys, and the TPM has room for three.
fn eight_programs() {
    let start = |_| {
        let mut holds = stage::command(programs::holds());
        holds.arg("device:/dev/tpmrm0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut children: Vec<Child> = (0..8).map(start).collect();
    for child in &mut children {
        assert_eq!(line(child), "loaded");
    }
    for child in children {
        let output = child.wait_with_output().unwrap(); // closes its input first
        assert!(output.status.success(), "{}", output::show(&output));
        assert_eq!(output::stdout(&output), "used\n2 passed, 0 failed\n");
    }
}

/// Checks the exit status, and the text of the only line on stderr.
pub(crate) fn says(command: &mut Command, code: i32, text: &str) {
    let output = output::run(command);
    let line = output::stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{}", output::show(&output));
    let of_the_module = line.starts_with("ERROR:tcti:") && line.contains(":device() ");
    assert!(of_the_module && line.lines().count() == 1, "{line}");
    assert_eq!(line.trim_end().split_once("() ").map(|(_, text)| text), Some(text));
}

fn second_open() {
    let text = "cannot open /dev/tpm0: Device or resource busy (only one program can open this device at a time, and \
                another one has it open). Use /dev/tpmrm0, which programs can share, or end the program that holds the \
                device";
    let mut open = stage::command(program::link_tctildr());
    says(open.args(["device:/dev/tpm0", "device:/dev/tpm0"]), IO_ERROR, text);
    let mut open = stage::command(program::link_tctildr());
    output::succeed(open.args(["device:/dev/tpm0", "device:/dev/tpmrm0", "device:/dev/tpmrm0"]));
}

fn no_permission() {
    let text = "cannot open /dev/tpmrm0: Permission denied (mode 0600, owner root:root, we are nobody:nogroup). \
                Install the udev rules that give /dev/tpmrm0 to group tss, and join that group (usermod -a -G tss \
                USER, then log in again)";
    says(&mut PublicCopy::new().open("nobody", "nogroup", "device:/dev/tpmrm0"), NOT_PERMITTED, text);
}

fn unknown_handle() {
    let mut tool = stage::command("tpm2_flushcontext");
    let output = output::run(tool.args(["0x80000002", "-T", "device:/dev/tpmrm0"]));
    let text = "cannot read the response from /dev/tpmrm0: Invalid argument: the command names an object or a session \
                that this connection to the resource manager does not have";
    assert!(!output.status.success() && output::stderr(&output).contains(text), "{}", output::show(&output));
}
