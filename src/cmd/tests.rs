// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the transport with real shells.

mod hangup;
mod termination;

use super::*;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use proptest::prelude::*;
use std::ffi::CString;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use tcti_core::Session;
use tcti_core::Tcti;
use tcti_core::session::Received;
use tcti_core::testing::exchange::{Peer, exchanges, follow_the_ideal};
use tcti_core::testing::{
    Forked, GET_RANDOM, OK, assert_closed_descriptors_are_left_alone, emulator_lacks, malformed, run_polling,
    this_program,
};
use tcti_core::turns;

fn open(command: &str) -> Session<Cmd> {
    Session::new(Cmd::open(Conf::new(Some(&CString::new(command).unwrap()))).unwrap())
}

/// Returns a shell command that reads one TPM command and then runs `then`.
fn after_command(then: &str) -> String {
    format!("head -c {} >/dev/null; {then}", GET_RANDOM.len())
}

/// Returns a shell command that prints these bytes.
fn print(bytes: &[u8]) -> String {
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("printf '{octal}'")
}

fn run(session: &mut Session<Cmd>) -> Result<Vec<u8>> {
    session.transmit(GET_RANDOM)?;
    match session.receive(Some(4096), Wait::Forever)? {
        Received::Response(bytes) => Ok(bytes.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn commands_and_responses_pass_through_the_standard_streams() {
    let once = after_command(&print(OK));
    let mut session = open(&format!("for i in 1 2 3; do {once}; done"));
    for _ in 0..3 {
        assert_eq!(run(&mut session).unwrap(), OK);
    }
}

#[test]
fn a_missing_configuration_string_is_a_bad_value() {
    assert_eq!(Cmd::open(Conf::new(None)).err(), Some(ReturnCode::BAD_VALUE.into()));
}

#[test]
fn a_command_that_exits_is_an_error_and_is_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let command = after_command(&format!(
        "if [ -e {mark} ]; then {}; else touch {mark}; exit 3; fi",
        print(OK),
        mark = mark.display()
    ));
    let mut session = open(&command);
    assert_eq!(run(&mut session), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!(run(&mut session).unwrap(), OK);
}

#[test]
fn a_command_that_exits_during_a_write_is_noticed_at_once() {
    let mut command = vec![0; 1 << 20];
    command[..6].copy_from_slice(&[0x80, 0x01, 0, 0x10, 0, 0]);
    let mut session = open("head -c 100000 >/dev/null"); // the rest is more than a pipe holds
    let since = Instant::now();
    assert_eq!(session.transmit(&command), Err(ReturnCode::IO_ERROR.into()));
    assert!(since.elapsed() < WRITE_TIMEOUT / 2);
}

#[test]
fn a_command_that_exited_while_idle_is_restarted() {
    let mut session = open(&after_command(&print(OK)));
    for _ in 0..3 {
        assert_eq!(run(&mut session).unwrap(), OK);
    }
}

#[test]
fn the_poll_handle_serves_every_restart_of_the_command() {
    let mut session = open(&after_command(&print(OK)));
    let handle = session.poll_handle().unwrap();
    for _ in 0..5 {
        // The end of the output of the last process is an event, too.
        assert_eq!(run_polling(&mut session, handle, 3).unwrap(), OK);
    }
    let mut session = open(&after_command(&print(&OK[..7])));
    let handle = session.poll_handle().unwrap();
    for _ in 0..3 {
        assert_eq!(run_polling(&mut session, handle, 3), Err(ReturnCode::IO_ERROR.into()));
    }
}

#[test]
fn a_tpm_command_that_was_read_is_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen");
    let once = after_command(&print(OK));
    let mut session = open(&format!("{once}; head -c 3 >> {}", seen.display()));
    assert_eq!(run(&mut session).unwrap(), OK);
    assert_eq!(run(&mut session), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!(std::fs::read(&seen).unwrap(), &GET_RANDOM[..3]);
    assert_eq!(run(&mut session).unwrap(), OK);
}

#[test]
fn unsolicited_output_is_never_taken_for_a_response() {
    let dir = tempfile::tempdir().unwrap();
    let (go, done) = (dir.path().join("go"), dir.path().join("done"));
    let mut late = OK.to_vec();
    late[12] ^= 0xff;
    let wait =
        format!("[ -e {done} ] || {{ while [ ! -e {go} ]; do :; done; ", go = go.display(), done = done.display());
    let unasked = format!("{wait}{}; touch {}; }}", print(&late), done.display());
    let mut session = open(&format!("{}; {unasked}; cat >/dev/null", after_command(&print(OK))));
    assert_eq!(run(&mut session).unwrap(), OK);
    std::fs::write(&go, "").unwrap();
    while !done.exists() {
        std::thread::yield_now();
    }
    assert_eq!(run(&mut session).unwrap(), OK);
}

#[test]
fn receive_with_timeout_0_does_not_wait() {
    let mut session = open(&after_command("trap '' TERM; exec >&- 2>&-; exec sleep 600"));
    session.transmit(GET_RANDOM).unwrap();
    let start = Instant::now();
    while session.receive(None, Wait::Millis(0)) == Err(ReturnCode::TRY_AGAIN.into()) {}
    assert!(start.elapsed() < EXIT_TIMEOUT);
}

#[test]
fn an_end_of_output_at_any_offset_is_an_error() {
    for cut in [0, 1, 9, 10, 19] {
        assert_eq!(run(&mut open(&after_command(&print(&OK[..cut])))), Err(ReturnCode::IO_ERROR.into()), "{cut}");
    }
}

#[test]
fn a_missing_program_is_an_error() {
    assert_eq!(run(&mut open("/nonexistent/program 2>/dev/null")), Err(ReturnCode::IO_ERROR.into()));
}

#[test]
fn a_malformed_response_costs_one_command() {
    for bytes in malformed().iter().filter(|bytes| bytes.len() < 100) {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let (bad, good) = (print(bytes), print(OK));
        let choice = format!("if [ -e {m} ]; then {good}; else touch {m}; {bad}; fi; exec cat >&2", m = mark.display());
        let mut session = open(&after_command(&choice));
        assert_eq!(run(&mut session), Err(ReturnCode::MALFORMED_RESPONSE.into()), "{bytes:x?}");
        assert_eq!(run(&mut session).unwrap(), OK);
    }
}

#[test]
fn a_banner_is_malformed() {
    assert_eq!(
        run(&mut open(&after_command("echo Password:; exec sleep 600 2>/dev/null"))),
        Err(ReturnCode::MALFORMED_RESPONSE.into())
    );
}

#[test]
fn a_timeout_loses_no_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let command = format!("{}; cat {}; {}", print(&OK[..7]), fifo.display(), print(&OK[7..]));
    let mut session = open(&after_command(&command));
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
    assert_eq!(session.receive(None, Wait::Millis(20)), Err(ReturnCode::TRY_AGAIN.into()));
    std::fs::write(&fifo, "").unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn a_command_that_ignores_sigterm_is_killed() {
    let session = open("trap '' TERM; exec sleep 600 2>/dev/null");
    let start = Instant::now();
    drop(session);
    assert!(start.elapsed() < EXIT_TIMEOUT * 4);
}

/// Returns a shell command that answers commands until its input ends. It appends a line to the file `started` when it
/// starts, and to `ended` when it exits, also by SIGTERM, which it gets if a busy machine takes longer than the time-out.
/// It runs `other` for each command with a known command code; `random $n` there returns the requested random bytes.
fn server(dir: &Path, other: &str) -> String {
    let (dir, unknown, head) = (dir.display(), print(UNKNOWN), r"\200\001\000\000\000\\$(printf %03o $(($1 + 12)))");
    format!(
        r#"exec 2>/dev/null; echo x >> {dir}/started; trap 'echo x >> {dir}/ended' EXIT; trap exit TERM
        random() {{
            printf "{head}\000\000\000\000\000\\$(printf %03o $1)"
            i=0; while [ $i -lt $1 ]; do i=$((i + 1)); printf "\\$(printf %03o $i)"; done
        }}
        while bytes=$(dd bs=1 count=12 | od -An -tu1); [ -n "$bytes" ]; do
            set -- $bytes; n=${{12}}
            if [ "$7 $8 $9 ${{10}}" = '0 0 0 0' ]; then {unknown}; else {other}; fi
        done"#
    )
}

/// Answers as a TPM does.
const RANDOM: &str = "random $n";

/// A response with TPM_RC_COMMAND_CODE.
const UNKNOWN: &[u8] = &[0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x43];

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// Waits until the file has `count` lines. It may take a while: processes that other tests have forked meanwhile hold
/// copies of the pipes until they exit.
fn wait_for_lines(path: &Path, count: usize) {
    let since = Instant::now();
    while lines(path) != count {
        assert!(since.elapsed() < WRITE_TIMEOUT, "{}: {} lines", path.display(), lines(path));
        std::thread::yield_now();
    }
}

#[test]
fn a_forked_child_shares_the_command_and_the_last_process_terminates_it() {
    let dir = tempfile::tempdir().unwrap();
    let (begin, end) = (dir.path().join("go"), dir.path().join("end"));
    for fifo in [&begin, &end] {
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let mut session = Some(open(&server(dir.path(), RANDOM)));
    assert_eq!(run(session.as_mut().unwrap()).unwrap(), OK);
    let child = Forked::asks(|| {
        let mut session = session.take().unwrap(); // finalized by the drop
        let mut used = session.enter().is_ok() && run(&mut session).unwrap() == OK;
        std::fs::write(&begin, "").unwrap();
        std::fs::read(&end).unwrap();
        used &= run(&mut session).unwrap() == OK;
        used
    });
    std::fs::read(&begin).unwrap();
    assert_eq!(run(session.as_mut().unwrap()).unwrap(), OK);
    let since = Instant::now();
    drop(session);
    assert!(since.elapsed() < EXIT_TIMEOUT, "a drop does not wait for the command to exit");
    assert_eq!(lines(&dir.path().join("ended")), 0);
    std::fs::write(&end, "").unwrap();
    assert_eq!(child.status(), Some(0));
    assert_eq!(lines(&dir.path().join("started")), 1);
    wait_for_lines(&dir.path().join("ended"), 1); // together with the last process
}

/// Forks a process that does `work` in its turn and dies.
fn dies_after(session: &mut Session<Cmd>, work: impl FnOnce(&mut Cmd)) {
    let child = Forked::asks(|| {
        session.enter().unwrap();
        session
            .alongside(|cmd| -> Result<()> {
                work(cmd);
                std::panic::resume_unwind(Box::new(()))
            })
            .is_ok()
    });
    assert_eq!(child.status(), Some(1));
}

fn receive(cmd: &mut Cmd) -> Vec<u8> {
    let mut rx = RxBuf::new();
    assert_eq!(cmd.recv(&mut rx, Wait::Forever), Ok(Progress::Complete));
    rx.as_slice().to_vec()
}

#[test]
fn the_command_survives_a_process_that_dies_at_any_point_of_an_exchange() {
    let dir = tempfile::tempdir().unwrap();
    let mut session = open(&server(dir.path(), RANDOM));
    for _ in 0..2 {
        let child = Forked::asks(|| session.enter().is_ok() && session.transmit(GET_RANDOM).is_ok());
        assert_eq!(child.status(), Some(0));
        assert_eq!(run(&mut session).unwrap(), OK);
        dies_after(&mut session, |_| {});
        assert_eq!(run(&mut session).unwrap(), OK);
        dies_after(&mut session, |cmd| cmd.send(GET_RANDOM).unwrap());
        assert_eq!(run(&mut session).unwrap(), OK);
        dies_after(&mut session, |cmd| {
            cmd.send(GET_RANDOM).unwrap();
            assert_eq!(receive(cmd), OK);
        });
        assert_eq!(run(&mut session).unwrap(), OK);
        dies_after(&mut session, |cmd| {
            cmd.send(&[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0]).unwrap(); // an unknown command code
        });
        assert_eq!(run(&mut session).unwrap(), OK);
        // During a resynchronisation, twice in a row.
        for _ in 0..2 {
            let markers: Vec<u8> = (1..9).flat_map(|n| [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, n]).collect();
            dies_after(&mut session, |cmd| cmd.process.as_mut().unwrap().write(&markers).unwrap());
        }
        assert_eq!(run(&mut session).unwrap(), OK);
        // In the middle of a response.
        dies_after(&mut session, |cmd| {
            cmd.send(GET_RANDOM).unwrap();
            cmd.process.as_ref().unwrap().read_some(&mut [0; 5], &Deadline::Never).unwrap();
        });
        assert_eq!(run(&mut session).unwrap(), OK);
    }
    assert_eq!(lines(&dir.path().join("started")), 1);
}

#[test]
fn a_process_with_its_own_command_does_not_wait_for_turns() {
    let mut session = open(&after_command(&print(OK))); // exits after its first response
    let other_process = session.other_process().unwrap();
    session.set_turn_timeout(Duration::from_millis(10));
    assert_eq!(run(&mut session).unwrap(), OK);
    let turn = other_process.begin();
    assert_eq!(run(&mut session), Err(ReturnCode::IO_ERROR.into()));
    drop(turn);
    session.set_turn_timeout(turns::TURN_TIMEOUT); // a process that another test has forked may still hold the lock
    assert_eq!(run(&mut session).unwrap(), OK, "answered by a new process");
    session.set_turn_timeout(Duration::from_millis(10));
    let _turn = other_process.begin();
    assert_eq!(run(&mut session).unwrap(), OK);
}

#[test]
fn a_command_that_cannot_be_resynchronised_is_restarted() {
    for other in [b"Password: ", UNKNOWN] {
        let dir = tempfile::tempdir().unwrap();
        let mut session = open(&server(dir.path(), &print(other)));
        dies_after(&mut session, |cmd| cmd.send(GET_RANDOM).unwrap());
        session.transmit(GET_RANDOM).unwrap();
        wait_for_lines(&dir.path().join("started"), 2);
    }
}

/// The command's ends of the pipes.
struct Pipes {
    stdin: File,
    stdout: File,
}

impl Peer for Pipes {
    fn command(&mut self, size: usize) -> Vec<u8> {
        self.stdin.command(size)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stdout.send(bytes);
    }
}

proptest! {
    #[test]
    fn any_exchange_matches_the_ideal_transport(exchanges in exchanges(6000)) {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (stdout, output) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut pipes = Pipes { stdin: reader.try_clone().unwrap().into(), stdout: output.into() };
        let process = Process::with_pipes(writer, reader, stdout).unwrap();
        let cmd = Cmd { command: PathBuf::from("false"), process: Some(process), took_own_connection: false };
        follow_the_ideal(&mut Session::new(cmd), &mut pipes, &exchanges);
    }
}
