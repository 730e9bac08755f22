// SPDX-License-Identifier: BSD-2-Clause
//! The exact messages on stderr when something is wrong, and that nothing is printed when all is well.

use crate::needs::{NO_STICK, NO_TPM};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use tss2_kit::need::{CC, LIBTPMS, Need, PKG_CONFIG, SETPRIV, SWTPM, TPM2_TOOLS};
use tss2_kit::pty::PtyDevice;
use tss2_kit::server::{SocketKind, StateFile, Swtpm, TestTpm, free_port};
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};

const BUILD: [Need; 2] = [CC, PKG_CONFIG];

/// Codes of the TCTI layer, which are the exit status of `link-tctildr`.
const BAD_REFERENCE: i32 = 0x5;
const IO_ERROR: i32 = 0xa;
const BAD_VALUE: i32 = 0xb;
const NOT_PERMITTED: i32 = 0xc;
const NOT_SUPPORTED: i32 = 0x15;

/// Name of the test, the TCTI that is opened, the code, the part that logs the message, and its text.
type Case = (&'static str, &'static str, i32, &'static str, &'static str);

const CASES: [Case; 16] = [
    (
        "a_name_without_a_library",
        "no-such-tcti:conf",
        NOT_SUPPORTED,
        "find",
        "no TCTI \"no-such-tcti\": there is no library no-such-tcti, libtss2-tcti-no-such-tcti.so.0, \
         libtss2-tcti-no-such-tcti.so, libtss2-no-such-tcti.so.0, libtss2-no-such-tcti.so. Is the name right, and its \
         package installed?",
    ),
    (
        "a_misspelled_name",
        "devcie:/dev/tpm0",
        NOT_SUPPORTED,
        "find",
        "no TCTI \"devcie\": there is no library devcie, libtss2-tcti-devcie.so.0, libtss2-tcti-devcie.so, \
         libtss2-devcie.so.0, libtss2-devcie.so. Did you mean device?",
    ),
    (
        "a_path_without_a_library",
        "/nonexistent/libtss2-tcti-x.so.0:conf",
        NOT_SUPPORTED,
        "find",
        "no TCTI \"/nonexistent/libtss2-tcti-x.so.0\": there is no library /nonexistent/libtss2-tcti-x.so.0. Is the path \
         right?",
    ),
    (
        "a_library_that_is_not_a_tcti",
        "libc.so.6",
        BAD_REFERENCE,
        "sys",
        "libc.so.6 is not a TCTI: it has no function Tss2_Tcti_Info",
    ),
    (
        "a_file_that_is_not_a_library",
        "/etc/passwd",
        NOT_SUPPORTED,
        "find",
        "the library of the TCTI \"/etc/passwd\" does not load: /etc/passwd: invalid ELF header",
    ),
    ("no_name", ":conf", BAD_VALUE, "name_conf", "the TCTI \":conf\" has no name before the ':'"),
    (
        "no_equals_sign",
        "swtpm:host=localhost,nonsense",
        BAD_VALUE,
        "conf",
        "\"nonsense\" in the configuration string has no '='; expected key=value, such as port=2321. A value cannot have a \
         comma",
    ),
    (
        "an_unknown_key",
        "swtpm:prot=2321",
        BAD_VALUE,
        "conf",
        "unknown key \"prot\" in the configuration string; valid keys are host, port, path, ctrl_port, ctrl_path, timeout, keep, init",
    ),
    (
        "a_line_end_after_the_path_of_a_socket",
        "swtpm:path=/nonexistent/socket\r\n",
        IO_ERROR,
        "endpoint",
        "cannot connect to \"/nonexistent/socket\\r\\n\": No such file or directory. Is the simulator running, and is this \
         its address?",
    ),
    (
        "a_port_of_0",
        "swtpm:port=0",
        BAD_VALUE,
        "conf",
        "port=0 in the configuration string: expected a number from 1 to 65535",
    ),
    (
        "a_port_followed_by_a_letter",
        "swtpm:port=2321x",
        BAD_VALUE,
        "conf",
        "port=2321x in the configuration string: expected a number from 1 to 65535",
    ),
    (
        "no_port_for_the_control_channel",
        "swtpm:port=65535",
        BAD_VALUE,
        "channels",
        "port=65535 leaves no port for the control channel, which is the next one; set ctrl_port=",
    ),
    (
        "no_socket",
        "swtpm:path=/nonexistent/socket",
        IO_ERROR,
        "endpoint",
        "cannot connect to /nonexistent/socket: No such file or directory. Is the simulator running, and is this its \
         address?",
    ),
    (
        "a_file_that_is_not_a_device",
        "device:/etc/passwd",
        IO_ERROR,
        "device",
        "cannot open /etc/passwd: this is a regular file. A TPM is a character device such as /dev/tpmrm0",
    ),
    (
        "a_device_that_is_not_a_tpm",
        "device:/dev/null",
        IO_ERROR,
        "device",
        "cannot open /dev/null: this is a system device, such as /dev/null, and not a TPM. A TPM is a character device \
         such as /dev/tpmrm0",
    ),
    (
        "a_malformed_expression_for_a_serial_number",
        "spi-ltt2go:^00(42",
        BAD_VALUE,
        "pattern",
        "\"^00(42\" is not an extended regular expression for a serial number: found open group without closing ')'",
    ),
];

pub(crate) fn tests(suite: &mut Suite) {
    for (name, opened, code, part, text) in CASES {
        suite.test(format!("messages::{name}"), &BUILD, move || says(open(&[opened]), code, part, text));
    }
    suite.test("messages::info_names_the_tcti", &[&BUILD[..], &[LIBTPMS]].concat(), which_tcti);
    suite.test("messages::connection_refused", &BUILD, connection_refused);
    suite.test("messages::two_addresses", &[&BUILD[..], &[SWTPM]].concat(), two_addresses);
    suite.test("messages::blanks_and_line_ends_around_a_number", &[&BUILD[..], &[SWTPM]].concat(), blanks);
    suite.test("messages::no_control_channel", &BUILD, no_control_channel);
    suite.test("messages::no_device", &[&BUILD[..], &[NO_TPM]].concat(), no_device);
    suite.test("messages::no_default_opens", &[&BUILD[..], &[NO_TPM]].concat(), no_default_opens);
    suite.test("messages::no_stick", &[&BUILD[..], &[NO_STICK]].concat(), no_stick);
    suite.test("messages::no_permission", &[&BUILD[..], &[SETPRIV, SWTPM, Need::Root]].concat(), no_permission);
    let libtpms = [&BUILD[..], &[LIBTPMS]].concat();
    suite.test("messages::a_damaged_state_file", &libtpms, damaged_state_file);
    suite.test("messages::a_state_file_in_a_missing_directory", &libtpms, no_directory);
    suite.test("messages::a_state_file_called_newline", &libtpms, newline);
    suite.test("messages::a_second_libtpms_in_the_process", &libtpms, second_libtpms);
    suite.test("messages::none_for_a_context_that_the_loader_did_not_open", &[TPM2_TOOLS], foreign_context);
    suite.test("messages::none_on_success", &[&libtpms[..], &[SWTPM]].concat(), none_on_success);
}

/// Returns the program that opens TCTIs and prints random bytes.
fn open(arguments: &[&str]) -> Command {
    let mut command = stage::command(program::link_tctildr());
    command.args(arguments);
    command
}

/// Returns a line of the log without file name and line number.
fn normalised(line: &str) -> String {
    let mut parts = line.splitn(5, ':');
    let mut next = || parts.next().unwrap_or_else(|| panic!("not a line of the log: {line}"));
    let (level, stack, file, number, rest) = (next(), next(), next(), next(), next());
    assert!(stack == "tcti" && file.ends_with(".rs") && number.parse::<u32>().is_ok(), "{line}");
    format!("{level}:tcti:FILE:LINE:{rest}")
}

/// Checks that the program fails with this code and prints one line with this text.
fn says(mut command: Command, code: i32, part: &str, text: &str) {
    let output = output::run(&mut command);
    let found: String = output::stderr(&output).lines().map(|line| normalised(line) + "\n").collect();
    output::assert_same("stderr", &found, &format!("ERROR:tcti:FILE:LINE:{part}() {text}\n"));
    assert_eq!(output.status.code(), Some(code));
}

fn connection_refused() {
    let port = free_port();
    let text = format!(
        "cannot connect to 127.0.0.1:{port}: Connection refused. Is the simulator running, and is this its address?"
    );
    says(open(&[&format!("swtpm:host=127.0.0.1,port={port}")]), IO_ERROR, "endpoint", &text);
}

/// At level info.
fn which_tcti() {
    let file = StateFile::new();
    let output = output::run(open(&[&file.name_conf()]).env("TSS2_LOG", "tcti+info"));
    let line = normalised(output::stderr(&output).trim_end());
    let library = stage::lib().join("libtss2-tcti-libtpms.so.0");
    let text = format!("the TCTI is libtpms, which is in {}, with conf {}", library.display(), file.path().display());
    assert_eq!(line, format!("info:tcti:FILE:LINE:loader() {text}"));
}

/// The last of host and path takes effect, as in C.
fn two_addresses() {
    let swtpm = Swtpm::start(SocketKind::Unix);
    let path = swtpm.conf();
    for (before, ignored) in
        [("host=x,port=1,", "what host= and port= say"), ("host=x,", "host="), ("port=1,", "port=")]
    {
        let output = output::run(&mut open(&[&format!("swtpm:{before}{path}")]));
        let line = normalised(output::stderr(&output).trim_end());
        let text =
            "a simulator has one address: path= in the configuration string applies, as the last of host= and path=";
        assert_eq!(line, format!("WARNING:tcti:FILE:LINE:channels() {text}, and {ignored} does not"));
        assert!(output.status.success(), "{}", output::show(&output));
    }
}

/// Such characters get into variables that are read from files.
fn blanks() {
    let swtpm = Swtpm::start(SocketKind::Tcp);
    let conf = swtpm.conf();
    for around in ["\n", "\r\n", " ", "\t"] {
        let output = output::run(&mut open(&[&format!("swtpm:{conf}{around}")]));
        assert!(output.status.success() && output.stderr.is_empty(), "{around:?}: {}", output::show(&output));
    }
}

fn no_control_channel() {
    let data = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, control) = (data.local_addr().unwrap().port(), free_port());
    let text = format!(
        "cannot connect to 127.0.0.1:{control}: Connection refused. This is the control channel: start the simulator \
         with one there (swtpm: --ctrl), or say where it is with ctrl_port= or ctrl_path="
    );
    let conf = format!("swtpm:host=127.0.0.1,port={port},ctrl_port={control}");
    says(open(&[&conf]), IO_ERROR, "endpoint", &text);
}

/// Returns the text about the TPMs of the kernel, on a machine without one.
fn kernel() -> String {
    let found = fs::read_dir("/sys/class/tpm").is_ok_and(|mut entries| entries.next().is_some());
    assert!(!found, "the machine has a TPM");
    "The kernel has found no TPM (/sys/class/tpm is empty): enable it in the firmware set-up, or use a simulator: TCTI \
     swtpm or libtpms"
        .to_owned()
}

fn no_device() {
    let text = format!("cannot open /dev/no-such-tpm: No such file or directory. {}", kernel());
    says(open(&["device:/dev/no-such-tpm"]), IO_ERROR, "device", &text);
    let text = format!("cannot open \"/dev/no-such-tpm\\r\": No such file or directory. {}", kernel());
    says(open(&["device:/dev/no-such-tpm\r"]), IO_ERROR, "device", &text);
}

fn no_stick() {
    let hint = "(lsusb -d 365d:1337 lists them). Without one, use a simulator: TCTI swtpm or libtpms";
    let text = format!("no LetsTrust-TPM2Go is plugged in {hint}");
    says(open(&["spi-ltt2go"]), IO_ERROR, "search", &text);
    let text = format!("no LetsTrust-TPM2Go whose serial number matches \"^0042$\" is plugged in {hint}");
    says(open(&["spi-ltt2go:^0042$"]), IO_ERROR, "search", &text);
}

fn no_default_opens() {
    let output = output::run(&mut open(&[]));
    assert_eq!(output.status.code(), Some(IO_ERROR));
    let printed = output::stderr(&output);
    assert_eq!(printed.lines().count(), 1, "{printed}");
    let line = normalised(printed.trim_end());
    assert!(
        line.starts_with("ERROR:tcti:FILE:LINE:defaults() no TCTI was specified and no default could be opened: "),
        "{line}"
    );
    let in_order =
        ["libtss2-tcti-default.so", "tabrmd", "/dev/tpmrm0: No such file", "/dev/tpm0: No such file", "2321"];
    let places: Vec<usize> =
        in_order.iter().map(|part| line.find(part).unwrap_or_else(|| panic!("no {part} in {line}"))).collect();
    assert!(places.is_sorted(), "{line}");
    assert!(line.ends_with(&kernel()), "{line}");
}

fn no_permission() {
    let device = PtyDevice::start();
    fs::set_permissions(device.path(), Permissions::from_mode(0o000)).unwrap();
    // The staged tree may be in a directory that other users cannot read.
    let copy = program::readable_dir();
    for library in ["tctildr", "tcti-device"] {
        let file = stage::library(library);
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    let mut command = stage::command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program::link_tctildr());
    command.arg(device.name_conf()).env("LD_LIBRARY_PATH", copy.path());
    let text = format!(
        "cannot open {}: Permission denied (mode 0000, owner {}, we are nobody:nogroup). Join the group that may \
         open it (usermod -a -G GROUP USER, then log in again), or run as its owner",
        device.path().display(),
        owner(device.path())
    );
    says(command, NOT_PERMITTED, "device", &text);
}

/// Returns user and group by name, from stat(1).
fn owner(path: &Path) -> String {
    let metadata = fs::metadata(path).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0);
    output::succeed(Command::new("stat").args(["-c", "%U:%G"]).arg(path)).trim().to_owned()
}

fn damaged_state_file() {
    let file = StateFile::new();
    fs::write(file.path(), b"this is no state of a TPM").unwrap();
    let text = format!(
        "{} is not a TPM state file, or is damaged: the permanent state ends early. Name another file for a new TPM, or \
         restore this one from a copy",
        file.path().display()
    );
    says(open(&[&file.name_conf()]), IO_ERROR, "state", &text);
    assert_eq!(fs::read(file.path()).unwrap(), b"this is no state of a TPM");
}

fn no_directory() {
    let text = "cannot open the TPM state file /nonexistent/dir/x: its directory /nonexistent/dir does not exist";
    says(open(&["libtpms:/nonexistent/dir/x"]), IO_ERROR, "state", text);
}

fn newline() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = open(&["libtpms:\n"]);
    command.current_dir(dir.path());
    let text = r#"the path of the TPM state file "\n" ends with a blank or a line end"#;
    says(command, BAD_VALUE, "libtpms", text);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

fn second_libtpms() {
    let text =
        "this process has a libtpms context already, and libtpms supports one TPM per process; finalize it first";
    says(open(&["libtpms", "libtpms"]), IO_ERROR, "sys", text);
}

/// tpm2-tools have a TCTI of their own for operations without a TPM, and finalize it through the loader.
fn foreign_context() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = stage::command("tpm2_nvdefine");
    command.args(["--tcti=none", "--cphash=cp", "-C", "o", "-s", "32", "0x1500016"]).current_dir(dir.path());
    let output = output::run(&mut command);
    let ours = output::stderr(&output).contains("tcti:");
    assert!(output.status.success() && !ours, "{}", output::show(&output));
    assert!(fs::metadata(dir.path().join("cp")).unwrap().len() > 0);
}

fn none_on_success() {
    let (file, device) = (StateFile::new(), PtyDevice::start());
    for _ in 0..2 {
        let output = output::run(&mut open(&[&file.name_conf(), &device.name_conf()]));
        assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
        assert_eq!(output::stdout(&output).lines().count(), 2);
    }
}
