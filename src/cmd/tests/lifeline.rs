// SPDX-License-Identifier: BSD-2-Clause
//! When a command ends that nobody ends, and what it is started with.

use super::*;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

#[test]
fn the_command_inherits_the_lifeline_alone() {
    let dir = tempfile::tempdir().unwrap();
    let list = |name: &str| format!("exec 2>/dev/null; ls /proc/self/fd > {}", dir.path().join(name).display());
    let mut plain = Command::new("/bin/sh");
    plain.args(["-c", &list("plain")]).stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    let _another = open("cat");
    let mut session = open(&list("ours"));
    assert_eq!(run(&mut session), Err(ReturnCode::IO_ERROR.into()), "it ended");
    let read = |name: &str| {
        let numbers = std::fs::read_to_string(dir.path().join(name)).unwrap();
        let mut numbers: Vec<u32> = numbers.lines().map(|number| number.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    // Those of other tests, which start commands at this moment, may be among them.
    let (ours, plain) = (read("ours"), read("plain"));
    let low = |numbers: &[u32]| numbers.iter().copied().filter(|number| *number < 10).collect::<Vec<_>>();
    assert_eq!(low(&ours), low(&plain));
    assert!(ours.iter().any(|number| *number >= 10), "{ours:?}");
}

/// The program of a shell is named as system(3) and the C module name it.
#[test]
fn the_shell_is_called_sh() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("name");
    let mut session = open(&format!("printf %s \"$0\" > {}", name.display()));
    assert_eq!(run(&mut session), Err(ReturnCode::IO_ERROR.into()), "it ended");
    assert_eq!(std::fs::read_to_string(name).unwrap(), "sh");
}

#[test]
fn a_command_that_never_reads_ends_with_the_process_that_was_killed() {
    const LONG: Duration = Duration::from_secs(600);
    let dir = tempfile::tempdir().unwrap();
    let [started, held] = ["started", "held"].map(|name| dir.path().join(name));
    for fifo in [&started, &held] {
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    // The command is the only one that can write there.
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

/// With the C module the command ends with the thread.
#[test]
fn a_command_outlives_the_thread_that_opened_it() {
    let once = after_command(&print(OK));
    let command = format!("for i in 1 2; do {once}; done");
    let mut session = std::thread::spawn(move || open(&command)).join().unwrap();
    assert_eq!(run(&mut session).unwrap(), OK);
    assert_eq!(run(&mut session).unwrap(), OK);
}
