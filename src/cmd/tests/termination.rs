// SPDX-License-Identifier: BSD-2-Clause
//! Tests of what is left of a command after its context was finalized: no zombie, and no process of a pipeline.

use super::*;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::ptrace;
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, mkfifo};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A time-out for what happens soon, even on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn shell_id(session: &Session<Cmd>) -> i32 {
    session.transport().process.as_ref().unwrap().shell.id().as_raw_nonzero().get()
}

/// Waits until `condition` is true.
fn wait_until(mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < SOON);
        std::thread::yield_now();
    }
}

/// Returns whether a process exists, as a zombie or not.
fn exists(id: i32) -> bool {
    Path::new(&format!("/proc/{id}")).exists()
}

/// Creates a FIFO.
fn fifo(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    path
}

#[test]
fn a_command_that_a_forked_process_ended_leaves_no_zombie() {
    let dir = tempfile::tempdir().unwrap();
    let end = fifo(dir.path(), "end");
    let mut session = Some(open(&server(dir.path(), RANDOM)));
    let id = shell_id(session.as_ref().unwrap());
    let child = Forked::asks(|| {
        let mut session = session.take().unwrap(); // finalized by the drop
        std::fs::read(&end).unwrap();
        run(&mut session).unwrap() == OK
    });
    drop(session);
    std::fs::write(&end, "").unwrap();
    assert_eq!(child.status(), Some(0));
    wait_for_lines(&dir.path().join("ended"), 1);
    // Another test that waits for shells at this moment keeps this one from doing so.
    wait_until(|| {
        drop(open("cat"));
        !exists(id)
    });
}

/// The end of a process that is being traced is reported to its parent only after the tracer has waited for it. The process of
/// this test traces a grandchild, because a system may allow that for descendants only.
#[test]
fn a_command_that_exits_late_after_sigkill_leaves_no_zombie() {
    let dir = tempfile::tempdir().unwrap();
    let [started, traced, finalized, over] =
        ["started", "traced", "finalized", "over"].map(|name| fifo(dir.path(), name));
    let child = Forked::asks(|| {
        let session = open("exec sleep 600 2>/dev/null");
        let id = shell_id(&session);
        std::fs::write(&started, id.to_string()).unwrap();
        std::fs::read(&traced).unwrap();
        let since = Instant::now();
        drop(session);
        let is_bounded = since.elapsed() < 4 * EXIT_TIMEOUT;
        let was_there = exists(id);
        std::fs::write(&finalized, "").unwrap();
        std::fs::read(&over).unwrap();
        drop(open("cat"));
        is_bounded && was_there && !exists(id)
    });
    let shell = Pid::from_raw(std::fs::read_to_string(&started).unwrap().parse().unwrap());
    if let Err(error) = ptrace::seize(shell, ptrace::Options::empty()) {
        return emulator_lacks(&format!("ptrace(2): {error}"));
    }
    std::fs::write(&traced, "").unwrap();
    std::fs::read(&finalized).unwrap();
    while !matches!(waitpid(shell, Some(WaitPidFlag::__WALL)).unwrap(), WaitStatus::Signaled(..)) {}
    std::fs::write(&over, "").unwrap();
    assert_eq!(child.status(), Some(0));
}

/// The environment variable that says what the program of the test below does about its children.
const HOST: &str = "TCTI_CMD_TEST_HOST";

#[test]
fn a_program_may_ignore_sigchld_or_wait_for_any_child() {
    let Ok(host) = std::env::var(HOST) else {
        let test = "tests::termination::a_program_may_ignore_sigchld_or_wait_for_any_child";
        for (host, option) in [("ignores", "--ignore-signal=CHLD"), ("waits", "--default-signal=CHLD")] {
            let program = this_program();
            let mut env = Command::new("env");
            env.arg(option).arg(program.get_program()).args(program.get_args()).args(["--exact", test]);
            let status = env.env(HOST, host).status().unwrap();
            assert!(status.success(), "{host}");
        }
        return;
    };
    if host == "waits" {
        std::thread::spawn(|| {
            loop {
                let _ = waitpid(None, None); // fails while there is no child
            }
        });
    }
    let mut session = open(&after_command(&format!("{}; head -c 1; exit 3", print(OK))));
    let ids = [(); 3].map(|()| {
        assert_eq!(run(&mut session).unwrap(), OK);
        let id = shell_id(&session);
        assert_eq!(run(&mut session), Err(ReturnCode::IO_ERROR.into()));
        id
    });
    let since = Instant::now();
    drop(session);
    drop(open("trap '' TERM; while :; do sleep 1; done 2>/dev/null"));
    assert!(since.elapsed() < 4 * EXIT_TIMEOUT);
    wait_until(|| !ids.iter().any(|id| exists(*id)));
}

#[test]
fn every_process_of_a_pipeline_or_a_list_ends_with_the_context() {
    for command in [
        "WAIT | cat >/dev/null",
        "cat | WAIT",
        "WAIT; echo > LATER",
        "WAIT & wait; echo > LATER",
        "(exec 3>&1; (WAIT; :) | cat) | cat >/dev/null; :",
        "trap '' TERM; WAIT | cat >/dev/null; :",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (started, held, later) = (fifo(dir.path(), "started"), fifo(dir.path(), "held"), dir.path().join("later"));
        // Only the processes of the command have the write end open: end of file means that all have exited.
        let mut end = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&held).unwrap();
        fcntl(&end, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let wait = format!("sh -c 'echo >{}; exec sleep 600'", started.display());
        let command = command.replace("WAIT", &wait).replace("LATER", &later.display().to_string());
        let session = open(&format!("exec 2>/dev/null 9>{}; {command}", held.display()));
        std::fs::read(&started).unwrap();
        let since = Instant::now();
        drop(session);
        end.read_to_end(&mut Vec::new()).unwrap();
        assert!(since.elapsed() < SOON, "{command}");
        assert!(!later.exists(), "{command}");
    }
}

#[test]
fn a_process_that_a_command_leaves_behind_when_it_exits_by_itself_keeps_running() {
    let dir = tempfile::tempdir().unwrap();
    let (go, done) = (fifo(dir.path(), "go"), fifo(dir.path(), "done"));
    let mut session =
        open(&format!("exec 2>/dev/null; cat <{} >{} & exec cat >/dev/null", go.display(), done.display()));
    session.transmit(GET_RANDOM).unwrap();
    drop(session);
    let mut writer = None;
    wait_until(|| {
        writer = OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&go).ok();
        writer.is_some()
    });
    writer.unwrap().write_all(b"left").unwrap();
    assert_eq!(std::fs::read(&done).unwrap(), b"left");
}

#[test]
fn files_that_a_program_opens_after_closing_every_descriptor_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    assert_closed_descriptors_are_left_alone(|| open(&server(dir.path(), RANDOM)));
}
