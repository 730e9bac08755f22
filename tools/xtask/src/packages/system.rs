// SPDX-License-Identifier: BSD-2-Clause
//! The system that packages are built on: this one, or a Debian chroot. [`System::command`] runs a command there, and
//! [`System::build`] the distribution's package builder.

use crate::debian::IN_NAMESPACES;
use anyhow::{Context, Result};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Cmd, Shell, cmd};

/// Where the host's Rust toolchain is mounted in a chroot.
const RUST: &str = "/rust";

/// The search path of a login shell.
const SEARCH_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Mounts the working directory and the Rust toolchain in a private mount namespace and runs the command in the chroot, with
/// the environment of a login shell.
const ENTER: &str = "set -e; root=$1 work=$2 rust=$3; shift 3; mkdir -p \"$root/work\" \"$root/rust\"; \
    mount -t proc proc \"$root/proc\"; mount --bind \"$work\" \"$root/work\"; \
    mount --bind -o ro \"$rust\" \"$root/rust\"; exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive chroot \"$root\" env --chdir=/work \"$@\"";

/// A system.
pub(crate) enum System {
    /// This one.
    Host,
    /// A chroot with this root directory.
    Chroot(PathBuf),
}

impl System {
    /// Returns a command that runs in the shell's directory. In a chroot, only that directory and the host's Rust toolchain
    /// are visible of the host's files.
    pub(crate) fn command<'a>(&self, shell: &'a Shell, words: &[&str]) -> Result<Cmd<'a>> {
        Ok(match self {
            System::Host => {
                let (program, arguments) = words.split_first().unwrap_or((&"true", &[]));
                cmd!(shell, "{program} {arguments...}")
            }
            System::Chroot(root) => {
                let (work, rust) = (shell.current_dir(), cmd!(shell, "rustc --print sysroot").quiet().read()?);
                cmd!(shell, "env {IN_NAMESPACES...} sh -c {ENTER} sh {root} {work} {rust} {words...}")
            }
        })
    }

    /// Returns the directory that contains the host's compiler, as seen on this system.
    pub(crate) fn compiler(&self, shell: &Shell) -> Result<PathBuf> {
        let sysroot = match self {
            System::Host => cmd!(shell, "rustc --print sysroot").quiet().read()?,
            System::Chroot(_) => RUST.to_owned(),
        };
        Ok(PathBuf::from(sysroot).join("bin"))
    }

    /// Runs a package builder in the shell's directory. Its output goes to the file `log` there; if the builder fails, the
    /// error contains the last lines.
    ///
    /// `compiler` is the directory of a Rust compiler to put first in the search path. This is needed because package builders
    /// change the home directory, where rustup looks for its toolchains. Cargo settings of the environment are removed, so
    /// that those of the package apply.
    pub(crate) fn build(&self, shell: &Shell, builder: &[&str], compiler: Option<&Path>, log: &str) -> Result<()> {
        let path = shell.current_dir().join(log);
        println!("building the packages; the log is {}", path.display());
        // Without `compiler`, use the system's search path: that of this process may contain another compiler.
        let search_path = match (compiler, self) {
            (Some(compiler), System::Host) => format!("{}:{}", compiler.display(), env::var("PATH")?),
            (Some(compiler), System::Chroot(_)) => format!("{}:{SEARCH_PATH}", compiler.display()),
            (None, _) => SEARCH_PATH.to_owned(),
        };
        let search_path = format!("PATH={search_path}");
        let script = "log=$1; shift; exec \"$@\" >\"$log\" 2>&1 </dev/null";
        let words = [&["env", &search_path, "sh", "-c", script, "sh", log], builder].concat();
        let mut build = self.command(shell, &words)?;
        for setting in ["CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
            build = build.env_remove(setting);
        }
        build.quiet().run().with_context(|| format!("cannot build the packages:\n{}", last_lines(&path)))
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
}
