// SPDX-License-Identifier: BSD-2-Clause
//! The processes below the shell of a command, such as those of a pipeline: [`descendants`]. They cannot get signals as a
//! process group: ssh could not prompt on the terminal, which stops a background group that reads it (SIGTTIN). Nor can the
//! host become a subreaper (`PR_SET_CHILD_SUBREAPER`), which would make it the parent of its other orphans, too.
#![forbid(unsafe_code)]

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process;
use tcti_core::io::above_stdio;

/// Returns file descriptors of the processes below `root`, which must not have been waited for. A process whose parent has
/// exited, such as a daemon, is not below it any more. Returns none if /proc or pidfd_open(2) is not available.
pub(crate) fn descendants(root: Pid) -> Vec<OwnedFd> {
    // The /proc of another PID namespace shows other numbers.
    let own_id = process::id().to_string();
    if !fs::read_link("/proc/self").is_ok_and(|link| link == Path::new(&own_id)) {
        return Vec::new();
    }
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let mut others: Vec<(Pid, Pid)> = ids.filter_map(|id| Some((id, parent(id)?))).collect();
    let (mut level, mut found) = (vec![root], Vec::new());
    while !level.is_empty() {
        let (children, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, parent)| level.contains(parent));
        // The descriptor is opened before the parent is checked again: if another process has the number by now, either
        // that has another parent, or the descriptor is that of a process which has exited.
        found.extend(children.iter().filter_map(|(id, expected)| {
            let pidfd = above_stdio(pidfd_open(*id, PidfdFlags::empty()).ok()?).ok()?;
            (parent(*id)? == *expected).then_some(pidfd)
        }));
        (level, others) = (children.into_iter().map(|(id, _)| id).collect(), rest);
    }
    found
}

/// Returns the parent of a process (proc_pid_stat(5)). The name of the process may contain spaces and parentheses.
fn parent(id: Pid) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{}/stat", id.as_raw_nonzero())).ok()?;
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(stat.get(after_name + 1..)?).ok()?.split_ascii_whitespace();
    Pid::from_raw(fields.nth(1)?.parse().ok()?)
}
