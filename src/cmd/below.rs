// SPDX-License-Identifier: BSD-2-Clause
//! The processes below the shell of a command, such as those of a pipeline: [`descendants`]. They cannot get signals as a
//! process group: ssh could not prompt on the terminal, which stops a background group that reads it (SIGTTIN). Nor can the
//! host become a subreaper (`PR_SET_CHILD_SUBREAPER`), which would make it the parent of its other orphans, too.
#![forbid(unsafe_code)]

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::read;
use rustix::path::Arg;
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};
use std::mem::MaybeUninit;
use tcti_core::io::above_stdio;

/// Returns file descriptors of the processes below `root`, which must not have been waited for. A process whose parent has
/// exited, such as a daemon, is not below it any more. Returns none if /proc or pidfd_open(2) is not available.
pub(crate) fn descendants(root: Pid) -> Vec<OwnedFd> {
    find(root).unwrap_or_default()
}

fn find(root: Pid) -> Option<Vec<OwnedFd>> {
    let proc = openat(CWD, c"/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // The /proc of another PID namespace shows other numbers.
    if id_and_parent(&proc, c"self/stat")?.0 != getpid() {
        return None;
    }
    let (mut all, mut buffer) = (Vec::new(), [MaybeUninit::uninit(); 4096]);
    let mut entries = RawDir::new(&proc, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        if entry.file_name().to_bytes().first().is_some_and(u8::is_ascii_digit) {
            all.extend(id_and_parent(&proc, format!("{}/stat", entry.file_name().to_str().ok()?)));
        }
    }
    let mut found = vec![root];
    let mut previous = 0;
    while previous != found.len() {
        previous = found.len();
        for (id, parent) in &all {
            if found.contains(parent) && !found.contains(id) {
                found.push(*id);
            }
        }
    }
    let pidfds = found.iter().skip(1).filter_map(|id| {
        // The descriptor is opened before the parent is checked again: if another process has the number by now, either
        // that has another parent, or the descriptor is that of a process which has exited.
        let pidfd = above_stdio(pidfd_open(*id, PidfdFlags::empty()).ok()?).ok()?;
        let (_, parent) = id_and_parent(&proc, format!("{}/stat", id.as_raw_nonzero()))?;
        found.contains(&parent).then_some(pidfd)
    });
    Some(pidfds.collect())
}

/// Returns the ID of a process and that of its parent (proc_pid_stat(5)). The name between them may contain spaces and
/// parentheses.
fn id_and_parent(proc: impl AsFd, stat: impl Arg) -> Option<(Pid, Pid)> {
    let file = openat(proc, stat, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut line = [0; 128];
    let count = read(&file, &mut line).ok()?;
    let line = line.get(..count)?;
    let (before_name, after_name) =
        (line.split(|byte| *byte == b' ').next()?, line.rsplit(|byte| *byte == b')').next()?);
    let pid = |number: &[u8]| Pid::from_raw(std::str::from_utf8(number).ok()?.parse().ok()?);
    Some((pid(before_name)?, pid(after_name.split(|byte| *byte == b' ').nth(2)?)?))
}
