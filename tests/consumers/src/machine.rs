// SPDX-License-Identifier: BSD-2-Clause
//! The machine: a Debian that is not changed, because a layer in memory takes all changes. [`enter`] mounts both and
//! makes them the root of this process. The mount namespace ends with the process, however it ends.

use nix::mount::{MsFlags, mount};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tss2_kit::output;

/// Directories that are mounted in the machine: the environment variable with the path outside, and the name inside.
const BINDINGS: [(&str, &str, MsFlags); 7] = [
    ("TSS2_PACKAGES", "packages", MsFlags::MS_RDONLY),
    ("TSS2_NEXT_PACKAGES", "next", MsFlags::MS_RDONLY),
    ("TSS2_EXAMPLES", "examples", MsFlags::MS_RDONLY),
    ("TSS2_C_TESTS", "c-tests", MsFlags::MS_RDONLY),
    ("TSS2_RUST", "rust", MsFlags::MS_RDONLY),
    ("TSS2_CRATES", "crates", MsFlags::MS_RDONLY),
    // Files that compilers keep from one run to the next.
    ("TSS2_BUILD", "build", MsFlags::empty()),
];

/// Variables that only an upgrade sets.
const OPTIONAL: [&str; 1] = ["TSS2_NEXT_PACKAGES"];

/// Makes the machine the root of this process. `TSS2_DEBIAN` is the directory with the Debian, `TSS2_MACHINE` one for
/// the mounts.
pub(crate) fn enter() {
    let (debian, machine) = (directory("TSS2_DEBIAN"), directory("TSS2_MACHINE"));
    mount(Some("none"), &machine, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let [upper, work, root] = ["upper", "work", "root"].map(|name| machine.join(name));
    for dir in [&upper, &work, &root] {
        fs::create_dir(dir).unwrap();
    }
    let layers = format!("lowerdir={},upperdir={},workdir={}", debian.display(), upper.display(), work.display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(&*layers)).unwrap();
    mount(Some("proc"), &root.join("proc"), Some("proc"), MsFlags::empty(), None::<&str>).unwrap();
    for (variable, name, flags) in BINDINGS {
        let to = root.join(name);
        fs::create_dir(&to).unwrap();
        if env::var_os(variable).is_none() && OPTIONAL.contains(&variable) {
            continue;
        }
        mount(Some(&directory(variable)), &to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        let again = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags;
        mount(None::<&str>, &to, None::<&str>, again, None::<&str>).unwrap();
    }
    nix::unistd::chroot(&root).unwrap();
    env::set_current_dir("/").unwrap();
}

fn directory(variable: &str) -> PathBuf {
    let path = env::var_os(variable).unwrap_or_default();
    assert!(!path.is_empty(), "{variable} is not set; run `cargo xtask consumers`");
    Path::new(&path).canonicalize().unwrap()
}

/// Returns a command with the environment of a login, and the variables of the compilers.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs([
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LC_ALL", "C"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("CARGO_HOME", "/build/cargo"),
        ("CARGO_TARGET_DIR", "/build/rust"),
        ("GOCACHE", "/build/go"),
    ]);
    command
}

/// Versions of packages by their names.
pub(crate) type Installed = BTreeMap<String, String>;

/// Returns all installed packages.
pub(crate) fn installed() -> Installed {
    let format = "--showformat=${db:Status-Status} ${Package} ${Version}\n";
    let listed = output::succeed(command("dpkg-query").args(["--show", format]));
    let packages = listed.lines().filter_map(|line| line.strip_prefix("installed ")?.split_once(' '));
    packages.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
}
