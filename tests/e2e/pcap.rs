// SPDX-License-Identifier: BSD-2-Clause
//! The module pcap in front of other modules. tshark reads its captures.

use crate::needs::{C_DEVICE, C_SWTPM};
use crate::transports::{PLAIN, TRANSPORTS, Transport};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tss2_kit::need::{LIBTPMS, Need, OPENSSL, SWTPM, TPM2_TOOLS, distribution_library};
use tss2_kit::pty::PtyDevice;
use tss2_kit::server::{SocketKind, Swtpm, TestTpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

/// The command-line program of Wireshark.
const TSHARK: Need = Need::Program("tshark", "tshark");

/// The distribution's modules in C, whose exchanges can be recorded, too.
const C_MODULES: [Transport; 2] = [
    Transport {
        name: "the_c_module_for_swtpm",
        needs: &[SWTPM, C_SWTPM],
        start: || Box::new(CModule(Box::new(Swtpm::start(SocketKind::Unix)))),
        ..PLAIN
    },
    Transport {
        name: "the_c_module_for_devices",
        needs: &[SWTPM, C_DEVICE],
        start: || Box::new(CModule(Box::new(PtyDevice::start()))),
        ..PLAIN
    },
];

/// Tools, and the command that each sends (TPM 2.0 Library Part 2, TPM_CC).
const TOOLS: [(&str, &str); 5] = [
    ("tpm2_getrandom -o random 8", "0x0000017b"),
    ("tpm2_pcrread -Q sha256:0", "0x0000017e"),
    ("tpm2_createprimary -Q -C o -c primary", "0x00000131"),
    ("tpm2_flushcontext -t", "0x00000165"),
    ("tpm2_nvdefine -Q -C o -s 9 0x1500001", "0x0000012a"),
];

pub(crate) fn tests(suite: &mut Suite) {
    let needs = [TPM2_TOOLS, TSHARK, SWTPM];
    suite.test("pcap::tshark_lists_the_commands_that_were_run", &needs, commands_that_were_run);
    for Transport { name, needs, short_commands, start, .. } in TRANSPORTS.into_iter().chain(C_MODULES) {
        let needs = [needs, &[TPM2_TOOLS, OPENSSL, TSHARK], short_commands].concat();
        suite.test(format!("pcap::all_steps_around_{name}"), &needs, move || all_steps(&*start()));
    }
    let needs = [TPM2_TOOLS, TSHARK, LIBTPMS];
    suite.test("pcap::processes_share_a_file", &needs, shared_file);
    suite.test("pcap::a_capture_can_go_to_a_pipeline", &needs, pipeline);
    let needs = [TPM2_TOOLS, LIBTPMS];
    suite.test("pcap::only_the_owner_can_read_the_default_file", &needs, default_file);
    suite.test("pcap::a_file_that_does_not_open_fails_init", &needs, no_file);
    suite.test("pcap::a_stalled_reader_does_not_cost_a_response", &needs, stalled_reader);
}

/// A TPM that is opened through the distribution's module instead of ours.
struct CModule(Box<dyn TestTpm>);

impl TestTpm for CModule {
    fn name_conf(&self) -> String {
        let ours = self.0.name_conf();
        let (name, conf) = ours.split_once(':').unwrap();
        let library = distribution_library(&format!("libtss2-tcti-{name}.so.0")).unwrap();
        format!("{}:{conf}", library.display())
    }
}

/// Returns a tool with its arguments, whose exchanges are recorded.
fn tool(line: &str, name_conf: &str, dir: &Path) -> Command {
    let mut words = line.split(' ');
    let mut tool = stage::command(words.next().unwrap());
    tool.args(words).args(["-T", &format!("pcap:{name_conf}")]).current_dir(dir);
    tool
}

/// Returns one field of each packet that matches the filter; it is empty for packets without this field.
fn tshark(file: &Path, filter: &str, field: &str) -> Vec<String> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(file).args(["-Y", filter, "-T", "fields", "-e", field]);
    output::succeed(&mut tshark).lines().map(str::to_owned).collect()
}

/// Filters that must match no packet. Wireshark 4.0 considers every TPM2_NV_Read (0x14e) malformed, also in captures
/// of the C module.
const WRONG: [&str; 4] = [
    "_ws.malformed && !(tpm.req.cc == 0x14e)",
    "tcp.analysis.lost_segment",
    "tcp.analysis.ack_lost_segment",
    "tcp.analysis.retransmission",
];

/// Checks that no packet is malformed or lost, and that each command has a response.
fn assert_sound(file: &Path) {
    for wrong in WRONG {
        assert_eq!(tshark(file, wrong, "frame.number"), Vec::<String>::new(), "{wrong}");
    }
    let checksums = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-Y"];
    let mut bad = Command::new("tshark");
    bad.arg("-r").arg(file).args(checksums).arg("ip.checksum.status != 1 || tcp.checksum.status != 1");
    assert_eq!(output::succeed(&mut bad), "");
    let (commands, responses) = (tshark(file, "tpm.req.cc", "tpm.req.cc"), tshark(file, "tpm.resp.rc", "tpm.resp.rc"));
    assert_eq!(commands.len(), responses.len());
    assert!(!commands.is_empty());
}

/// The capture has the command of each tool, and the same bytes that the log shows as sent.
fn commands_that_were_run() {
    let (swtpm, dir) = (Swtpm::start(SocketKind::Unix), tempfile::tempdir().unwrap());
    for (line, code) in TOOLS {
        let (capture, log) = (dir.path().join("capture"), dir.path().join("log"));
        let mut tool = tool(line, &swtpm.name_conf(), dir.path());
        tool.env("TCTI_PCAP_FILE", &capture).env("TSS2_LOG", "tcti+debug").env("TSS2_LOGFILE", &log);
        output::succeed(&mut tool);
        let log = fs::read_to_string(&log).unwrap();
        let sent = log.lines().filter_map(|line| line.split_once("sending command ")?.1.split_once(": "));
        // The log has each command twice: as pcap receives it, and as pcap passes it on.
        let sent: Vec<(String, String)> = sent
            .step_by(2)
            .map(|(code, bytes)| (format!("0x{:0>8}", code.trim_start_matches("0x")), bytes.to_owned()))
            .collect();
        let codes = tshark(&capture, "tpm.req.cc", "tpm.req.cc");
        let bytes = tshark(&capture, "tpm.req.cc", "tcp.payload");
        assert_eq!(codes.iter().cloned().zip(bytes).collect::<Vec<_>>(), sent, "{line}");
        assert!(codes.iter().any(|listed| listed == code), "{line}: {codes:?}");
        assert_sound(&capture);
        fs::remove_file(capture).unwrap();
        fs::remove_file(dir.path().join("log")).unwrap();
    }
}

fn all_steps(tpm: &dyn TestTpm) {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("capture");
    let mut script = stage::command("sh");
    script.arg(stage::c_tests("tpm2-tools.sh")).arg(dir.path()).env("TCTI_PCAP_FILE", &capture);
    let printed = output::succeed(script.env("TPM2TOOLS_TCTI", format!("pcap:{}", tpm.name_conf())));
    assert!(printed.lines().last().is_some_and(|line| line.ends_with(" steps")), "{printed}");
    assert_sound(&capture);
}

fn shared_file() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("capture");
    let run = || tool("tpm2_getrandom -o /dev/null 8", "libtpms:", dir.path()).env("TCTI_PCAP_FILE", &capture).spawn();
    let running: Vec<_> = (0..16).map(|_| run().unwrap()).collect();
    for mut tool in running {
        assert!(tool.wait().unwrap().success());
    }
    assert_sound(&capture);
    assert_eq!(tshark(&capture, "tpm.req.cc == 0x17b", "frame.number").len(), 16);
}

fn pipeline() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("capture");
    for name in ["-", "stdout", "stderr"] {
        let mut tool = tool("tpm2_getrandom -o random 8", "libtpms:", dir.path());
        let output = output::run(tool.env("TCTI_PCAP_FILE", name));
        let (taken, other) = match name {
            "stderr" => (&output.stderr, &output.stdout),
            _ => (&output.stdout, &output.stderr),
        };
        assert!(output.status.success() && other.is_empty(), "{}", output::show(&output));
        fs::write(&capture, taken).unwrap();
        assert_sound(&capture);
    }
}

fn default_file() {
    let dir = tempfile::tempdir().unwrap();
    output::succeed(&mut tool("tpm2_getrandom -o random 8", "libtpms:", dir.path()));
    let capture = dir.path().join("tpm2_log.pcap");
    assert_eq!(capture.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
}

fn no_file() {
    let dir = tempfile::tempdir().unwrap();
    for (path, reason) in [
        ("/dev/full", "No space left on device"),
        ("/nonexistent/capture", "No such file or directory"),
        (".", "it is a directory, not a regular file"),
    ] {
        let output =
            output::run(tool("tpm2_getrandom -o random 8", "libtpms:", dir.path()).env("TCTI_PCAP_FILE", path));
        let said = output::stderr(&output);
        assert!(!output.status.success());
        assert!(said.contains(&format!("cannot write the capture file {path}: {reason}")), "{said}");
    }
}

/// A named pipe with room for the section header block and no more.
fn stalled_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let room = usize::try_from(fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4096)).unwrap()).unwrap();
    pipe.write_all(&vec![0; room - 80]).unwrap();
    let mut tool = tool("tpm2_getrandom --hex 8", "libtpms:", dir.path());
    let output = output::run(tool.env("TCTI_PCAP_FILE", &path));
    assert!(output.status.success() && output.stdout.len() == 16, "{}", output::show(&output));
    let said = output::stderr(&output);
    assert!(
        said.lines().count() == 1 && said.starts_with("WARNING:tcti:") && said.contains("The capture ends here"),
        "{said}"
    );
}
