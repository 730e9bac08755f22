// SPDX-License-Identifier: BSD-2-Clause
//! Processes that are not our children, by what the kernel says of them.

use nix::libc;
use nix::unistd::Pid;
use std::fs;

/// The parent of a process; `None` when it has ended. `/proc/PID/stat` has its name in brackets, with anything in it, then
/// its state, and its parent.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = stat.rsplit_once(") ")?.1.split(' ');
    words.next().filter(|state| !matches!(*state, "Z" | "X"))?;
    words.next()?.parse().ok().map(Pid::from_raw)
}

/// Whether a process has not ended.
pub fn is_alive(pid: Pid) -> bool {
    parent(pid).is_some()
}

/// The living children of a process.
pub(super) fn children(of: Pid) -> Vec<Pid> {
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse().ok().map(Pid::from_raw));
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}

/// The system call in which a process waits, and its first argument; `None` when it runs, or is gone.
fn call(pid: Pid) -> Option<(i64, i64)> {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let mut words = call.split(' ');
    let number = words.next()?.parse().ok()?;
    Some((number, i64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?))
}

/// Whether a process waits, and not for connections.
pub(super) fn is_busy(pid: Pid) -> bool {
    call(pid).is_some_and(|(number, first)| match number {
        libc::SYS_accept | libc::SYS_accept4 => false,
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => watches_tpm(pid, first),
        _ => true,
    })
}

/// Whether an epoll instance has the kernel's TPM among its descriptors.
fn watches_tpm(pid: Pid, epoll: i64) -> bool {
    let about = fs::read_to_string(format!("/proc/{pid}/fdinfo/{epoll}")).unwrap_or_default();
    about
        .lines()
        .filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next())
        .any(|fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")).is_ok_and(|file| file.starts_with("/dev/tpmrm0")))
}
