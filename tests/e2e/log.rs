// SPDX-License-Identifier: BSD-2-Clause
//! The log: `TSS2_LOG`, `TSS2_LOGFILE`, and standard streams that are closed or broken.

use nix::unistd::pipe;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Command, Stdio};
use tss2_kit::need::{CC, LIBTPMS, Need, PKG_CONFIG, SWTPM};
use tss2_kit::program::Link;
use tss2_kit::pty::PtyDevice;
use tss2_kit::server::{SocketKind, Swtpm, TestTpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};

const NEEDS: [Need; 4] = [CC, PKG_CONFIG, LIBTPMS, SWTPM];

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("log::tss2_log_sets_the_level", &NEEDS, levels);
    suite.test("log::secrets_are_not_logged_below_debug", &NEEDS, no_bytes_below_debug);
    suite.test("log::tss2_logfile_names_a_file", &NEEDS, file);
    suite.test("log::tss2_logfile_can_be_stdout", &NEEDS, stdout);
    suite.test("log::a_daemon_that_closes_every_descriptor_keeps_log_and_capture", &NEEDS, daemon);
    suite.test("log::no_conf_string_and_no_peer_controls_a_terminal", &NEEDS, hostile_text);
    let needs = [CC, PKG_CONFIG, LIBTPMS, Need::Root];
    suite.test("log::a_program_with_more_privileges_than_its_user_ignores_the_environment", &needs, more_privileges);
    suite.test("log::a_closed_stderr_does_not_become_the_tpm", &NEEDS, closed_streams);
    suite.test("log::a_broken_pipe_does_not_kill_the_process", &NEEDS, broken_pipe);
}

fn open(name_conf: &str) -> Command {
    let mut command = stage::command(program::link_tctildr());
    command.arg(name_conf);
    command
}

fn lines(level: &str, name_conf: &str) -> usize {
    output::stderr(&output::run(open(name_conf).env("TSS2_LOG", level))).lines().count()
}

fn levels() {
    for silent in ["all+none", "tcti+NONE", "all+debug,tcti+none"] {
        assert_eq!(lines(silent, "no-such-tcti"), 0, "{silent}");
    }
    for errors in ["all+error", "tcti+warning", "esys+none", ""] {
        assert_eq!(lines(errors, "no-such-tcti"), 1, "{errors}");
    }
    assert_eq!(lines("all+warning", "libtpms"), 0);
    assert_eq!(lines("all+info", "libtpms"), 1, "info names the TCTI");
    for nonsense in ["nonsense", "tcti+loud", "debug"] {
        let output = output::run(open("libtpms").env("TSS2_LOG", nonsense));
        let printed = output::stderr(&output);
        assert!(output.status.success() && printed.lines().count() == 1 && printed.contains(nonsense), "{printed}");
    }
    for chatty in ["all+debug", "tcti+TRACE", "all+none,tcti+debug"] {
        assert!(lines(chatty, "libtpms") >= 2, "{chatty}");
    }
}

fn no_bytes_below_debug() {
    let swtpm = Swtpm::start(SocketKind::Unix);
    let logged = |level: &str| {
        let output = output::run(open(&swtpm.name_conf()).env("TSS2_LOG", level));
        let random = output::stdout(&output).trim().to_owned();
        assert_eq!(random.len(), 16);
        output::stderr(&output).contains(&random)
    };
    assert!(logged("all+debug"), "debug logs the response");
    assert!(!logged("all+info"));
}

fn file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    for lines in 1..3 {
        let output = output::run(open("no-such-tcti").env("TSS2_LOGFILE", &path));
        assert!(output.stderr.is_empty() && output.stdout.is_empty(), "{}", output::show(&output));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().filter(|line| line.starts_with("ERROR:tcti:")).count(), lines, "{text}");
        assert_eq!(text.lines().count(), lines, "{text}");
    }
    let output = output::run(open("no-such-tcti").env("TSS2_LOGFILE", "/nonexistent/log"));
    let printed = output::stderr(&output);
    let [warning, error] = printed.lines().collect::<Vec<_>>()[..] else { panic!("{printed}") };
    assert!(warning.starts_with("WARNING:tcti:") && error.starts_with("ERROR:tcti:"), "{printed}");
    assert!(warning.contains("cannot write the log to /nonexistent/log: No such file or directory"), "{printed}");
}

/// The log, the capture and the state file stay open between two commands.
fn daemon() {
    let (dir, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (log, capture, state) = (dir.path().join("log"), dir.path().join("capture"), dir.path().join("state"));
    let mut daemon = stage::command(program::build("closes", Link::Staged("tss2-tctildr"), &[]));
    daemon.arg(format!("pcap:libtpms:{}", state.display())).arg(theirs.path());
    daemon.env("TSS2_LOG", "all+debug").env("TSS2_LOGFILE", &log).env("TCTI_PCAP_FILE", &capture);
    let output = output::run(&mut daemon);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
    let text = fs::read_to_string(&log).unwrap();
    let command = "80010000000c0000017b0008";
    assert_eq!(text.lines().filter(|line| line.contains(command)).count(), 2 * COMMANDS, "{text}");
    let capture = fs::read(&capture).unwrap();
    let command = [0x80, 0x01, 0, 0, 0, 0x0c, 0, 0, 0x01, 0x7b, 0, 8];
    assert_eq!(capture.windows(command.len()).filter(|bytes| **bytes == command).count(), COMMANDS);
}

/// How many the program sends.
const COMMANDS: usize = 4;

fn stdout() {
    for name in ["-", "stdout"] {
        let output = output::run(open("no-such-tcti").env("TSS2_LOGFILE", name));
        assert!(output::stdout(&output).starts_with("ERROR:tcti:"), "{}", output::show(&output));
        assert!(output.stderr.is_empty());
    }
    let output = output::run(open("no-such-tcti").env("TSS2_LOGFILE", "stderr"));
    assert!(output::stderr(&output).starts_with("ERROR:tcti:") && output.stdout.is_empty());
}

/// Each line in the log begins as a line of ours does, and has no character that a terminal obeys or that hides others.
fn hostile_text() {
    // Controls of ASCII, DEL, C1 (encoded and not), separators of lines, and controls of the writing direction.
    let hostile = [
        "\u{1b}[2J",
        "\r",
        "\n",
        "\u{8}",
        "\u{7f}",
        "\u{85}",
        "\u{9b}2J",
        "\u{2028}",
        "\u{2029}",
        "\u{202e}",
        "\u{2066}",
    ];
    let all: String = hostile.concat();
    let texts = hostile.iter().map(|text| text.as_bytes()).chain([all.as_bytes(), b"\x9b2J\xff"]);
    let name_confs = [
        "no-such-*",
        "*:x",
        "/nonexistent/*.so",
        "pcap:*",
        "tctildr:*",
        "device:/dev/*",
        "spidev:/dev/*",
        "libtpms:/nonexistent/*/x",
        "swtpm:*",
        "swtpm:*=1",
        "swtpm:port=*",
        "swtpm:host=*",
        "swtpm:path=/nonexistent/*",
        "mssim:timeout=*",
        "spi-ltt2go:(*",
        "cmd:printf 'it is *'; cat >/dev/null",
        "cmd:exit 3; : '*'",
    ];
    for text in texts {
        for name_conf in name_confs {
            let (before, after) = name_conf.split_once('*').unwrap();
            let name_conf = [before.as_bytes(), text, after.as_bytes()].concat();
            let mut command = stage::command(program::link_tctildr());
            let output = output::run(command.arg(OsStr::from_bytes(&name_conf)).env("TSS2_LOG", "all+trace"));
            assert!(!output.status.success() && !output.stderr.is_empty(), "{}", output::show(&output));
            let printed = String::from_utf8(output.stderr).unwrap();
            for line in printed.split_terminator('\n') {
                let is_ours = ["ERROR", "WARNING", "info", "debug", "trace"]
                    .iter()
                    .any(|level| line.starts_with(&format!("{level}:tcti:")));
                assert!(is_ours, "{line:?} in {printed:?}");
                let obeyed = |letter: char| {
                    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
                };
                assert!(!line.contains(obeyed), "{line:?}");
            }
        }
    }
}

/// A program of nobody with the set-user-ID bit, which root starts. The dynamic linker ignores `LD_LIBRARY_PATH` for it.
fn more_privileges() {
    let (dir, work) = (program::readable_dir(), tempfile::tempdir().unwrap());
    for library in ["tctildr", "tcti-pcap", "tcti-libtpms"] {
        let file = stage::library(library);
        fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    }
    let program = dir.path().join("program");
    let mut cc = Command::new("cc");
    cc.args(program::FLAGS).arg("-o").arg(&program).arg(stage::c_tests("link-tctildr.c"));
    cc.args(program::pkg_config("tss2-tctildr").split_whitespace());
    output::succeed(cc.arg(format!("-Wl,--disable-new-dtags,-rpath,{}", dir.path().display())));
    for path in [&program, work.path()] {
        chown(path, Some(65534), Some(65534)).unwrap();
    }
    fs::set_permissions(&program, Permissions::from_mode(0o4755)).unwrap();
    let (log, capture) = (work.path().join("log"), work.path().join("capture"));
    let run = |name_conf: &str| {
        let mut command = Command::new(&program);
        command.arg(name_conf).current_dir(work.path()).env("TSS2_LOG", "all+trace");
        output::run(command.env("TSS2_LOGFILE", &log).env("TCTI_PCAP_FILE", &capture))
    };
    let output = run("pcap:libtpms");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
    assert_eq!(fs::metadata(work.path().join("tpm2_log.pcap")).unwrap().uid(), 65534);
    let output = run("no-such-tcti");
    let printed = output::stderr(&output);
    assert!(printed.starts_with("ERROR:tcti:") && printed.lines().count() == 1, "{printed}");
    assert!(!log.exists() && !capture.exists());
}

/// The first descriptors that a program without standard streams opens have the numbers of these streams.
fn closed_streams() {
    let (device, tcp, unix) = (PtyDevice::start(), Swtpm::start(SocketKind::Tcp), Swtpm::start(SocketKind::Unix));
    let tpms: [&dyn TestTpm; 3] = [&device, &tcp, &unix];
    for name_conf in tpms.map(TestTpm::name_conf) {
        let mut shell = stage::command("sh");
        shell.args(["-c", "exec \"$0\" \"$1\" 0<&- 2>&-"]).arg(program::link_tctildr()).arg(&name_conf);
        let printed = output::succeed(shell.env("TSS2_LOG", "all+trace"));
        assert_eq!(printed.trim().len(), 16, "{name_conf}: {printed}");
    }
}

fn broken_pipe() {
    for stream in ["stderr", "stdout"] {
        let (reader, writer): (OwnedFd, OwnedFd) = pipe().unwrap();
        drop(reader);
        let mut command = open("no-such-tcti");
        command.env("TSS2_LOG", "all+trace").env("TSS2_LOGFILE", stream).stdout(Stdio::null()).stderr(Stdio::null());
        match stream {
            "stderr" => command.stderr(Stdio::from(writer)),
            _ => command.stdout(Stdio::from(writer)),
        };
        let status = command.status().unwrap();
        assert_eq!(status.code(), Some(0x15), "{stream}: {status}");
    }
}
