// SPDX-License-Identifier: BSD-2-Clause
//! Describes the permissions of a file and the user of this process: [`show`]. Names are read from /etc/passwd and /etc/group,
//! because the name service of the C library would load libraries into the program and query servers while it reports an error.

use nix::errno::Errno;
use nix::unistd::{getegid, geteuid};
use std::fs::{File, metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How much of the files with the names is read, in bytes. Names after that are shown as numbers.
const LARGEST: usize = 256 << 10;

/// The mode, owner and group of a file.
#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Node {
    /// Reads them for a path.
    pub(super) fn at(path: &Path) -> Result<Node, Errno> {
        let found = metadata(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
        Ok(Node { mode: found.mode(), user: found.uid(), group: found.gid() })
    }
}

/// The user and group of this process, and the names of all users and groups.
pub(super) struct Names {
    pub(super) user: u32,
    pub(super) group: u32,
    /// In the format of passwd(5).
    pub(super) users: Vec<u8>,
    /// In the format of group(5).
    pub(super) groups: Vec<u8>,
}

impl Names {
    /// Reads them from the system.
    pub(super) fn of_this_system() -> Names {
        Names {
            user: geteuid().as_raw(),
            group: getegid().as_raw(),
            users: text("/etc/passwd"),
            groups: text("/etc/group"),
        }
    }
}

/// Reads the first [`LARGEST`] bytes of a file; returns nothing if it cannot be read or memory is not available.
fn text(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(mut file) = File::open(path) else { return bytes };
    if bytes.try_reserve_exact(LARGEST).is_ok() {
        bytes.resize(LARGEST, 0);
        let mut count = 0;
        while let Ok(more @ 1..) = file.read(bytes.get_mut(count..).unwrap_or_default()) {
            count += more;
        }
        bytes.truncate(count);
    }
    bytes
}

/// Returns the name in the first line whose third field is `id`; without one, the number.
fn name(lines: &[u8], id: u32) -> String {
    let id = id.to_string();
    for line in lines.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        if let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) {
            if number == id.as_bytes() {
                return String::from_utf8_lossy(name).into_owned();
            }
        }
    }
    id
}

/// Formats the permissions of a file and the user of this process for a message.
pub(super) fn show(node: Result<Node, Errno>, names: &Names) -> String {
    let show = |user, group| format!("{}:{}", name(&names.users, user), name(&names.groups, group));
    let us = show(names.user, names.group);
    match node {
        Ok(Node { mode, user, group }) => {
            format!("mode {:04o}, owner {}, we are {us}", mode & 0o7777, show(user, group))
        }
        Err(error) => format!("its mode cannot be read: {}; we are {us}", error.desc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let users = "root:x:0:0:root:/root:/bin/sh\ntss:x:104:111::/:/bin/false\n10:x:7:7:::\n".into();
        Names { user: 1000, group: 111, users, groups: "root:x:0:\ntss:x:111:\n".into() }
    }

    #[test]
    fn users_and_groups_without_a_name_are_numbers() {
        let node = Node { mode: 0o20_660, user: 104, group: 0 };
        assert_eq!(show(Ok(node), &names()), "mode 0660, owner tss:root, we are 1000:tss");
        let node = Node { mode: 0o20_600, user: 10, group: 4_294_967_294 };
        assert_eq!(show(Ok(node), &names()), "mode 0600, owner 10:4294967294, we are 1000:tss");
    }

    #[test]
    fn a_file_whose_mode_cannot_be_read_is_described() {
        let text = show(Err(Errno::EACCES), &names());
        assert_eq!(text, "its mode cannot be read: Permission denied; we are 1000:tss");
    }
}
