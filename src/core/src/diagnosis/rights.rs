// SPDX-License-Identifier: BSD-2-Clause
//! Who may open a file, and who asks. Names are those of /etc/passwd and /etc/group: the name service of the C library
//! would load libraries into the program and ask servers, in the middle of an error.

use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::unistd::{getegid, geteuid};
use std::fs;
use std::path::Path;

/// Mode, owner and group of a file.
#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Node {
    pub(super) fn at(path: &Path) -> Result<Node, Errno> {
        stat(path).map(|stat| Node { mode: stat.st_mode, user: stat.st_uid, group: stat.st_gid })
    }
}

/// Who asks, and what users and groups are called.
pub(super) struct Names {
    pub(super) user: u32,
    pub(super) group: u32,
    /// As in passwd(5).
    pub(super) users: String,
    /// As in group(5).
    pub(super) groups: String,
}

impl Names {
    pub(super) fn of_this_system() -> Names {
        let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Names {
            user: geteuid().as_raw(),
            group: getegid().as_raw(),
            users: text("/etc/passwd"),
            groups: text("/etc/group"),
        }
    }

    fn show(&self, user: u32, group: u32) -> String {
        format!("{}:{}", name(&self.users, user), name(&self.groups, group))
    }
}

/// The first name of a line whose third field is this number, or the number.
fn name(lines: &str, id: u32) -> String {
    let id = id.to_string();
    let line = lines.lines().find(|line| line.split(':').nth(2) == Some(&id));
    line.and_then(|line| line.split(':').next()).map_or(id, str::to_owned)
}

/// For a message.
pub(super) fn show(node: Result<Node, Errno>, names: &Names) -> String {
    let us = format!("we are {}", names.show(names.user, names.group));
    match node {
        Ok(Node { mode, user, group }) => {
            format!("mode {:04o}, owner {}, {us}", mode & 0o7777, names.show(user, group))
        }
        Err(error) => format!("not even its mode can be read: {}; {us}", error.desc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let users = "root:x:0:0:root:/root:/bin/sh\ntss:x:104:111::/:/bin/false\n10:x:7:7:::\n".to_owned();
        Names { user: 1000, group: 111, users, groups: "root:x:0:\ntss:x:111:\n".to_owned() }
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
