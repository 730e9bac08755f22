// SPDX-License-Identifier: BSD-2-Clause
//! Processes that are not our children, by what the kernel says of them.

use nix::libc;
use nix::unistd::Pid;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take on a machine that is emulated and busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something holds; its name is for the test that fails.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5)); // only how often to ask
    }
}

/// Name, state and parent of a process, of `/proc/PID/stat`. The name is in brackets and may have anything in it.
fn stat(pid: Pid) -> Option<(String, char, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (front, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?.chars().next()?;
    let parent = words.next()?.parse().ok()?;
    Some((front.split_once('(')?.1.to_owned(), state, Pid::from_raw(parent)))
}

/// Whether a process runs.
pub fn is_alive(pid: Pid) -> bool {
    stat(pid).is_some_and(|(_, state, _)| !matches!(state, 'Z' | 'X'))
}

/// The living children of a process.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse().ok().map(Pid::from_raw));
    pids.filter(|pid| stat(*pid).is_some_and(|(_, state, of)| of == parent && !matches!(state, 'Z' | 'X'))).collect()
}

/// The system call in which a process waits for something else than connections; `None` when it runs, or is gone. The
/// kernel says its number and its arguments.
pub(super) fn waits_in(pid: Pid) -> Option<i64> {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let mut words = call.split(' ');
    let number: i64 = words.next()?.parse().ok()?;
    let first = i64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    let is_idle = match number {
        libc::SYS_accept | libc::SYS_accept4 => true,
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => !watches_tpm(pid, first),
        _ => false,
    };
    (!is_idle).then_some(number)
}

/// Whether an epoll instance has the kernel's TPM among its descriptors.
fn watches_tpm(pid: Pid, epoll: i64) -> bool {
    let about = fs::read_to_string(format!("/proc/{pid}/fdinfo/{epoll}")).unwrap_or_default();
    about
        .lines()
        .filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next())
        .any(|fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")).is_ok_and(|file| file.starts_with("/dev/tpmrm0")))
}
