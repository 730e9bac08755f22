// SPDX-License-Identifier: BSD-2-Clause
//! Tests of what a command inherits, and of its termination when the process that started it is gone.

use super::*;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

#[test]
fn the_command_inherits_only_the_hangup_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let list = |name: &str| format!("exec 2>/dev/null; ls /proc/self/fd > {}", dir.path().join(name).display());
    let mut plain = Command::new("/bin/sh");
    plain.args(["-c", &list("plain")]).stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    let _another = open("cat");
    let mut session = open(&list("ours"));
    assert_eq!(run(&mut session), Err(ReturnCode::IO_ERROR.into()), "the shell has exited");
    let read = |name: &str| {
        let numbers = std::fs::read_to_string(dir.path().join(name)).unwrap();
        let mut numbers: Vec<u32> = numbers.lines().map(|number| number.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    // File descriptors of other tests that start a command at the same moment may be among these.
    let (ours, plain) = (read("ours"), read("plain"));
    let low = |numbers: &[u32]| numbers.iter().copied().filter(|number| *number < 10).collect::<Vec<_>>();
    assert_eq!(low(&ours), low(&plain));
    assert!(ours.iter().any(|number| *number >= 10), "{ours:?}");
}

/// `$0` is `sh`, as with system(3) and the C module.
#[test]
fn the_shell_is_named_sh() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("name");
    let mut session = open(&format!("printf %s \"$0\" > {}", name.display()));
    assert_eq!(run(&mut session), Err(ReturnCode::IO_ERROR.into()), "the shell has exited");
    assert_eq!(std::fs::read_to_string(name).unwrap(), "sh");
}

#[test]
fn a_command_that_never_reads_terminates_when_its_process_dies() {
    const LONG: Duration = Duration::from_secs(600);
    let dir = tempfile::tempdir().unwrap();
    let [started, held] = ["started", "held"].map(|name| dir.path().join(name));
    for fifo in [&started, &held] {
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    // Only the command has the write end open: end of file means that it has exited.
    let mut end = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&held).unwrap();
    nix::fcntl::fcntl(&end, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let (started_shown, held) = (started.display(), held.display());
    let command = format!("exec 2>/dev/null 9>{held}; echo >{started_shown}; exec sleep {}", LONG.as_secs());
    let child = Forked::asks(|| {
        mem::forget(open(&command));
        std::fs::read(&started).is_ok()
    });
    assert_eq!(child.status(), Some(0));
    let since = Instant::now();
    end.read_to_end(&mut Vec::new()).unwrap();
    assert!(since.elapsed() < LONG / 2);
}

/// With the C module the command terminates with the thread.
#[test]
fn a_command_outlives_the_thread_that_opened_it() {
    let once = after_command(&print(OK));
    let command = format!("for i in 1 2; do {once}; done");
    let mut session = std::thread::spawn(move || open(&command)).join().unwrap();
    assert_eq!(run(&mut session).unwrap(), OK);
    assert_eq!(run(&mut session).unwrap(), OK);
}
