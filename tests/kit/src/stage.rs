// SPDX-License-Identifier: BSD-2-Clause
//! The staged tree, laid out like an installation, and the environment in which programs find its libraries.
//! `TSS2_STAGE` names a directory other than `target/stage`.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Returns the path of a file in `c-tests`.
pub fn c_tests(name: &str) -> PathBuf {
    repository().join("c-tests").join(name)
}

/// Returns the root of the staged tree.
pub fn root() -> PathBuf {
    let staged = env::var_os("TSS2_STAGE").map_or_else(|| repository().join("target/stage"), PathBuf::from);
    staged
        .canonicalize()
        .unwrap_or_else(|error| panic!("no staged tree at {}: {error}; `cargo xtask stage` makes it", staged.display()))
}

/// Returns the directory of the staged libraries.
pub fn lib() -> PathBuf {
    root().join("lib")
}

/// Returns the path of a staged library: `tcti-swtpm` is `libtss2-tcti-swtpm.so.0`.
pub fn library(name: &str) -> PathBuf {
    lib().join(format!("libtss2-{name}.so.0"))
}

/// Returns the path of a program or library of `tests/sim`, which `cargo xtask test` builds. `TSS2_SIM` names a directory other than `target/release`.
pub fn sim(name: &str) -> PathBuf {
    env::var_os("TSS2_SIM").map_or_else(|| repository().join("target/release"), PathBuf::from).join(name)
}

/// Returns the directory of the staged headers.
pub fn include() -> PathBuf {
    root().join("include")
}

/// Returns a command that finds the staged libraries. Variables that configure TCTIs or the linker are not inherited
/// from the environment of the tests.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = distribution_command(program);
    command.env("LD_LIBRARY_PATH", lib());
    command
}

/// Returns a command that finds the distribution's libraries.
pub fn distribution_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if ["TSS2_", "TPM2", "TCTI_", "LD_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&key);
        }
    }
    command.env("LC_ALL", "C");
    command
}

/// Returns the libraries of the source tree by their names, such as `tss2-tcti-swtpm`, each with the directory of its
/// module.
pub fn libraries() -> BTreeMap<String, PathBuf> {
    let src = repository().join("src");
    let dirs = fs::read_dir(&src).unwrap().map(|entry| entry.unwrap());
    let modules = dirs.filter(|dir| dir.path().join("module").is_dir()).map(|dir| {
        let name = dir.file_name().into_string().unwrap();
        let prefix = if name == "tctildr" { "tss2-" } else { "tss2-tcti-" };
        (format!("{prefix}{name}"), dir.path().join("module"))
    });
    modules.collect()
}

/// Returns the functions that a library of the source tree exports, sorted: those in `module/exports.txt`, or without
/// this file its Init function and `Tss2_Tcti_Info`.
pub fn exports(library: &str) -> Vec<String> {
    let list = fs::read_to_string(libraries().get(library).unwrap().join("exports.txt"));
    let mut names: Vec<String> = match list {
        Ok(list) => list.lines().map(str::to_owned).collect(),
        Err(_) => {
            let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
            let words: Vec<String> = library["tss2-tcti-".len()..].split('-').map(capital).collect();
            vec![format!("Tss2_Tcti_{}_Init", words.join("_")), "Tss2_Tcti_Info".to_owned()]
        }
    };
    names.sort();
    names
}
