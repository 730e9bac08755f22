// SPDX-License-Identifier: BSD-2-Clause
//! Compiles the C programs of `c-tests`, each once per run of the tests. `TSS2_PROGRAMS` names a directory in which
//! they are kept; programs that already exist there are used without compiling them again.

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

/// The programs that were built, until [`clean_up`].
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

/// Compiler flags for all programs.
pub const FLAGS: [&str; 6] = ["-std=c11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Werror"];

/// The libraries that a program is linked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// None of ours: it loads them with dlopen(3).
    Nothing,
    /// Staged libraries, with the flags that pkg-config prints for these packages.
    Staged(&'static str),
}

/// Compiles `c-tests/NAME.c`, with `more` arguments for the compiler. Returns the path of the program.
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

/// Compiles `c-tests/NAME.c` as a shared library.
pub fn shared(name: &str, library: &Path, more: &[&str]) {
    let mut cc = Command::new("cc");
    cc.args(FLAGS).args(["-shared", "-fPIC", "-I"]).arg(stage::include());
    output::succeed(cc.arg("-o").arg(library).arg(stage::c_tests(&format!("{name}.c"))).args(more));
}

/// Compiles a shared library that is linked with staged libraries, with the flags that pkg-config prints for
/// `packages`.
pub fn shared_with(name: &str, library: &Path, packages: &str) {
    let flags = pkg_config(packages);
    shared(name, library, &flags.split_whitespace().collect::<Vec<_>>());
}

/// Makes a temporary directory that other users can read.
pub fn readable_dir() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

/// Builds the program that opens the TCTIs that its arguments name and prints random bytes of each.
pub fn link_tctildr() -> PathBuf {
    build("link-tctildr", Link::Staged("tss2-tctildr"), &[])
}

/// Returns the flags that compile and link a program with staged libraries.
pub fn pkg_config(packages: &str) -> String {
    let mut pkg_config = Command::new("pkg-config");
    pkg_config.env("PKG_CONFIG_PATH", stage::lib().join("pkgconfig"));
    output::succeed(pkg_config.args(["--cflags", "--libs"]).args(packages.split(' ')))
}

/// Removes the programs. A test program calls this when all its tests have ended.
pub fn clean_up() {
    BUILT.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// Builds the program that makes all calls of one module.
pub fn conformance() -> PathBuf {
    build("conformance", Link::Nothing, &["-ldl", "-lpthread"])
}
