// SPDX-License-Identifier: BSD-2-Clause
//! The state of processes that are not our children, from /proc.

use nix::libc;
use nix::unistd::Pid;
use std::fs;

/// Returns the parent of a process, or `None` when it has exited. In `/proc/PID/stat` the name stands in parentheses
/// and may contain any character; the state and the parent follow it.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = stat.rsplit_once(") ")?.1.split(' ');
    words.next().filter(|state| !matches!(*state, "Z" | "X"))?;
    words.next()?.parse().ok().map(Pid::from_raw)
}

/// Whether a process has not exited.
pub fn is_alive(pid: Pid) -> bool {
    parent(pid).is_some()
}

/// Returns the children of a process that have not exited.
pub(super) fn children(of: Pid) -> Vec<Pid> {
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse().ok().map(Pid::from_raw));
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}

/// Returns the system call in which a process waits and its first argument, or `None` when it runs or does not exist.
fn call(pid: Pid) -> Option<(i64, i64)> {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let mut words = call.split(' ');
    let number = words.next()?.parse().ok()?;
    Some((number, i64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?))
}

/// Whether a process waits for something other than connections.
pub(super) fn is_busy(pid: Pid) -> bool {
    call(pid).is_some_and(|(number, first)| match number {
        libc::SYS_accept | libc::SYS_accept4 => false,
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => watches_tpm(pid, first),
        _ => true,
    })
}

/// Whether an epoll instance watches the kernel's TPM.
fn watches_tpm(pid: Pid, epoll: i64) -> bool {
    let about = fs::read_to_string(format!("/proc/{pid}/fdinfo/{epoll}")).unwrap_or_default();
    about
        .lines()
        .filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next())
        .any(|fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")).is_ok_and(|file| file.starts_with("/dev/tpmrm0")))
}
