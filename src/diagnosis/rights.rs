// SPDX-License-Identifier: BSD-2-Clause
//! Who may open a file, and who asks. Names are those of /etc/passwd and /etc/group: the name service of the C library
//! would load libraries into the program and ask servers, in the middle of an error.

use nix::errno::Errno;
use nix::unistd::{getegid, geteuid};
use std::fs::{File, metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How much is read of the files with the names, in bytes. They are smaller; what comes after that stays a number.
const LARGEST: usize = 256 << 10;

/// Mode, owner and group of a file.
#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Node {
    pub(super) fn at(path: &Path) -> Result<Node, Errno> {
        let found = metadata(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
        Ok(Node { mode: found.mode(), user: found.uid(), group: found.gid() })
    }
}

/// Who asks, and what users and groups are called.
pub(super) struct Names {
    pub(super) user: u32,
    pub(super) group: u32,
    /// As in passwd(5).
    pub(super) users: Vec<u8>,
    /// As in group(5).
    pub(super) groups: Vec<u8>,
}

impl Names {
    pub(super) fn of_this_system() -> Names {
        Names {
            user: geteuid().as_raw(),
            group: getegid().as_raw(),
            users: text("/etc/passwd"),
            groups: text("/etc/group"),
        }
    }
}

/// What is in a file; nothing where it cannot be read, or where there is no memory for it.
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

/// The first name of a line whose third field is this number, or the number.
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

/// For a message.
pub(super) fn show(node: Result<Node, Errno>, names: &Names) -> String {
    let show = |user, group| format!("{}:{}", name(&names.users, user), name(&names.groups, group));
    let us = show(names.user, names.group);
    match node {
        Ok(Node { mode, user, group }) => {
            format!("mode {:04o}, owner {}, we are {us}", mode & 0o7777, show(user, group))
        }
        Err(error) => format!("not even its mode can be read: {}; we are {us}", error.desc()),
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
    fn names_are_those_of_the_files_and_else_numbers() {
        let node = Node { mode: 0o20_660, user: 104, group: 0 };
        assert_eq!(show(Ok(node), &names()), "mode 0660, owner tss:root, we are 1000:tss");
        let node = Node { mode: 0o20_600, user: 10, group: 4_294_967_294 };
        assert_eq!(show(Ok(node), &names()), "mode 0600, owner 10:4294967294, we are 1000:tss");
    }

    #[test]
    fn a_file_that_cannot_be_looked_at_is_no_obstacle() {
        let text = show(Err(Errno::EACCES), &names());
        assert_eq!(text, "not even its mode can be read: Permission denied; we are 1000:tss");
    }
}
