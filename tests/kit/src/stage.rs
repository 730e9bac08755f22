// SPDX-License-Identifier: BSD-2-Clause
//! The staged tree, laid out as an installation, and the environment in which programs find it. `TSS2_STAGE` names
//! another one than `target/stage`.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A file below `c-tests`.
pub fn c_tests(name: &str) -> PathBuf {
    repository().join("c-tests").join(name)
}

/// The staged tree.
pub fn root() -> PathBuf {
    let staged = env::var_os("TSS2_STAGE").map_or_else(|| repository().join("target/stage"), PathBuf::from);
    staged
        .canonicalize()
        .unwrap_or_else(|error| panic!("no staged tree at {}: {error}; `cargo xtask stage` makes it", staged.display()))
}

/// The directory of the staged libraries.
pub fn lib() -> PathBuf {
    root().join("lib")
}

/// A staged library as programs load it: `tcti-swtpm` is `libtss2-tcti-swtpm.so.0`.
pub fn library(name: &str) -> PathBuf {
    lib().join(format!("libtss2-{name}.so.0"))
}

/// A program of `tests/sim`, which `cargo xtask test` builds. `TSS2_SIM` names another directory than `target/release`.
pub fn sim(name: &str) -> PathBuf {
    env::var_os("TSS2_SIM").map_or_else(|| repository().join("target/release"), PathBuf::from).join(name)
}

/// The directory of the staged headers.
pub fn include() -> PathBuf {
    root().join("include")
}

/// A program that finds the staged libraries, and none of the knobs of whoever runs the tests.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = distribution_command(program);
    command.env("LD_LIBRARY_PATH", lib());
    command
}

/// A program that finds the distribution's libraries.
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

/// The libraries of the source tree by name (`tss2-tcti-swtpm` and so on), each with the directory of its C face.
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

/// The functions that a library of the source tree exports, sorted: its `module/exports.txt`, or by default its Init and
/// `Tss2_Tcti_Info`.
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
