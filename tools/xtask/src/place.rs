// SPDX-License-Identifier: BSD-2-Clause
//! Where a command runs: in this system, or in one whose root directory debootstrap has made ([`Place::Root`]).

use crate::debian::IN_NAME_SPACES;
use anyhow::Result;
use std::path::PathBuf;
use xshell::{Cmd, Shell, cmd};

/// Where a root sees the compiler of this system.
const RUST: &str = "/rust";

/// Mounts in a name space of its own what the command sees, and starts it with the environment of a login.
const ENTER: &str = "set -e; root=$1 work=$2 rust=$3; shift 3; mkdir -p \"$root/work\" \"$root/rust\"; \
    mount -t proc proc \"$root/proc\"; mount --bind \"$work\" \"$root/work\"; \
    mount --bind -o ro \"$rust\" \"$root/rust\"; exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive chroot \"$root\" env --chdir=/work \"$@\"";

/// A system.
pub(crate) enum Place {
    /// This one.
    Here,
    /// The one with this root directory.
    Root(PathBuf),
}

impl Place {
    /// A command in the shell's directory. Of this system a root has that directory alone, and the compiler.
    pub(crate) fn command<'a>(&self, shell: &'a Shell, words: &[&str]) -> Result<Cmd<'a>> {
        Ok(match self {
            Place::Here => {
                let (program, arguments) = words.split_first().unwrap_or((&"true", &[]));
                cmd!(shell, "{program} {arguments...}")
            }
            Place::Root(root) => {
                let (work, rust) = (shell.current_dir(), cmd!(shell, "rustc --print sysroot").quiet().read()?);
                cmd!(shell, "env {IN_NAME_SPACES...} sh -c {ENTER} sh {root} {work} {rust} {words...}")
            }
        })
    }

    /// The directory of the compiler that built this program.
    pub(crate) fn compiler(&self, shell: &Shell) -> Result<PathBuf> {
        let sysroot = match self {
            Place::Here => cmd!(shell, "rustc --print sysroot").quiet().read()?,
            Place::Root(_) => RUST.to_owned(),
        };
        Ok(PathBuf::from(sysroot).join("bin"))
    }
}
