// SPDX-License-Identifier: BSD-2-Clause
//! The C programs of `c-tests`, each compiled once per run of the tests. `TSS2_PROGRAMS` names a directory in which they
//! stay: those that are there already are taken as they are.

use crate::output;
use crate::stage;
use std::collections::HashMap;
use std::env;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// Where the programs are built, until `clean_up`.
static BUILT: Mutex<Option<Built>> = Mutex::new(None);

struct Built {
    dir: Dir,
    programs: HashMap<&'static str, PathBuf>,
}

enum Dir {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Dir {
    fn new() -> Dir {
        env::var_os("TSS2_PROGRAMS").map_or_else(|| Dir::Temporary(readable_dir()), |dir| Dir::Kept(dir.into()))
    }

    fn path(&self) -> &Path {
        match self {
            Dir::Kept(dir) => dir,
            Dir::Temporary(dir) => dir.path(),
        }
    }
}

/// Flags for everything that is compiled here.
pub const FLAGS: [&str; 6] = ["-std=c11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Werror"];

/// What a program is linked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Nothing of ours: it loads what it wants by itself.
    Nothing,
    /// Staged libraries, as pkg-config says for these packages.
    Staged(&'static str),
}

/// Compiles `c-tests/NAME.c` and gives the program.
pub fn build(name: &'static str, link: Link, more: &[&str]) -> PathBuf {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_with(|| Built { dir: Dir::new(), programs: HashMap::new() });
    if let Some(program) = built.programs.get(name) {
        return program.clone();
    }
    let program = built.dir.path().join(name);
    if program.exists() {
        return program;
    }
    let mut cc = Command::new("cc");
    cc.args(FLAGS).arg("-o").arg(&program).arg(stage::c_tests(&format!("{name}.c")));
    match link {
        Link::Nothing => {
            cc.arg("-I").arg(stage::include());
        }
        Link::Staged(packages) => {
            cc.args(pkg_config(packages).split_whitespace());
        }
    }
    output::succeed(cc.args(more));
    built.programs.insert(name, program.clone());
    program
}

/// Compiles `c-tests/NAME.c` as a library.
pub fn shared(name: &str, library: &Path, more: &[&str]) {
    let mut cc = Command::new("cc");
    cc.args(FLAGS).args(["-shared", "-fPIC", "-I"]).arg(stage::include());
    output::succeed(cc.arg("-o").arg(library).arg(stage::c_tests(&format!("{name}.c"))).args(more));
}

/// The same, linked with staged libraries, as pkg-config says for these packages.
pub fn shared_with(name: &str, library: &Path, packages: &str) {
    let flags = pkg_config(packages);
    shared(name, library, &flags.split_whitespace().collect::<Vec<_>>());
}

/// A directory that other users may look into.
pub fn readable_dir() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

/// The program that opens what its arguments name and prints random bytes of each.
pub fn link_tctildr() -> PathBuf {
    build("link-tctildr", Link::Staged("tss2-tctildr"), &[])
}

/// Flags to compile and link with staged libraries.
pub fn pkg_config(packages: &str) -> String {
    let mut pkg_config = Command::new("pkg-config");
    pkg_config.env("PKG_CONFIG_PATH", stage::lib().join("pkgconfig"));
    output::succeed(pkg_config.args(["--cflags", "--libs"]).args(packages.split(' ')))
}

/// Removes what was built. To be called when all tests have ended.
pub fn clean_up() {
    BUILT.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// The program that goes through all calls of one module.
pub fn conformance() -> PathBuf {
    build("conformance", Link::Nothing, &["-ldl", "-lpthread"])
}
