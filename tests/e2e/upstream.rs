// SPDX-License-Identifier: BSD-2-Clause
//! The integration programs of tpm2-tss, on its own modules and on ours: each ends the same way on both. The variable
//! `TSS2_UPSTREAM` names the source tree in which they were built (see CONTRIBUTING.md); without it there are no
//! tests.

use crate::indirect;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{LIBTPMS, Need, SWTPM, TPM2_TOOLS};
use tss2_kit::server::{SocketKind, StateFile, Swtpm, TestTpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

/// A TPM for one program, and the TCTI that opens it.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    needs: &'static [Need],
    start: fn() -> Box<dyn TestTpm>,
    /// A prefix of the TCTI's name, such as `pcap:`.
    prefix: &'static str,
    /// Whether the TPM lives longer than a context. The programs for FAPI open one context after the other.
    is_permanent: bool,
    /// Programs that end differently on our module than on the one in C, and their exit status on ours.
    differing: &'static [(&'static str, i32)],
}

/// A libtpms that lives as long as a context.
struct InMemory;

impl TestTpm for InMemory {
    fn name_conf(&self) -> String {
        "libtpms".to_owned()
    }
}

const PLAIN: Case =
    Case { name: "", needs: &[], start: || Box::new(StateFile::new()), prefix: "", is_permanent: true, differing: &[] };

const CASES: [Case; 8] = [
    Case { name: "swtpm_over_tcp", needs: &[SWTPM], start: || Box::new(Swtpm::start(SocketKind::Tcp)), ..PLAIN },
    Case { name: "swtpm_over_unix", needs: &[SWTPM], start: || Box::new(Swtpm::start(SocketKind::Unix)), ..PLAIN },
    Case { name: "libtpms_in_memory", needs: &[LIBTPMS], start: || Box::new(InMemory), is_permanent: false, ..PLAIN },
    Case { name: "libtpms", needs: &[LIBTPMS], ..PLAIN },
    Case { name: "mssim", needs: &[LIBTPMS], start: || Box::new(Mssim::start(SocketKind::Tcp, 0)), ..PLAIN },
    Case {
        name: "cmd",
        needs: &[SWTPM, TPM2_TOOLS],
        start: indirect::command,
        // On C's module it takes the context for one of mssim, and fails: see `docs/differences.md`.
        differing: &[("tpmclient.int", SKIPPED)],
        ..PLAIN
    },
    Case { name: "pcap", needs: &[SWTPM], start: || Box::new(Swtpm::start(SocketKind::Tcp)), prefix: "pcap:", ..PLAIN },
    Case { name: "pcap_libtpms", needs: &[LIBTPMS], prefix: "pcap:", ..PLAIN },
];

/// The exit status of a program that skips itself.
const SKIPPED: i32 = 77;

/// A time limit that the longest program does not reach on a busy machine.
const SECONDS: &str = "300";

pub(crate) fn tests(suite: &mut Suite) {
    let Some(tree) = env::var_os("TSS2_UPSTREAM").map(PathBuf::from) else { return };
    let programs = programs(&tree);
    assert!(programs.len() > 200, "there are {} programs in {}", programs.len(), tree.display());
    for case in CASES {
        for program in &programs {
            let name = program.file_name().unwrap().to_string_lossy().into_owned();
            if !case.is_permanent && name.ends_with(".fint") {
                continue;
            }
            let (tree, program) = (tree.clone(), program.clone());
            let test = format!("upstream::{}::{name}", case.name);
            suite.test(test, case.needs, move || ends_alike(&tree, &program, &case));
        }
    }
}

/// Returns the programs. Libtool puts the executables themselves in a directory below.
fn programs(tree: &Path) -> Vec<PathBuf> {
    let mut programs = Vec::new();
    for dir in ["test/integration", "test/tpmclient"].map(|dir| tree.join(dir)) {
        let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("cannot list {}: {error}", dir.display()));
        for file in files.map(|file| file.unwrap().path()) {
            let libtools = dir.join(".libs").join(file.file_name().unwrap());
            if file.extension().is_some_and(|extension| extension == "int" || extension == "fint") {
                programs.push(if libtools.exists() { libtools } else { file });
            }
        }
    }
    programs.sort();
    programs
}

fn ends_alike(tree: &Path, program: &Path, case: &Case) {
    let of_the_tree = |library: &str| tree.join("src").join(library).join(".libs");
    let run = |modules: PathBuf| {
        let (tpm, dir) = ((case.start)(), tempfile::tempdir().unwrap());
        let stack = ["tss2-esys", "tss2-sys", "tss2-mu", "tss2-fapi", "tss2-rc", "tss2-policy"].map(of_the_tree);
        let libraries = env::join_paths([modules].iter().chain(&stack)).unwrap();
        let mut command: Command = stage::distribution_command("timeout");
        command.arg(SECONDS).arg(program).current_dir(tree).env("LD_LIBRARY_PATH", libraries).env("HOME", dir.path());
        command.env("TPM20TEST_TCTI", format!("{}{}", case.prefix, tpm.name_conf()));
        output::run(command.env("TCTI_PCAP_FILE", dir.path().join("capture")))
    };
    let (c, ours) = (run(of_the_tree("tss2-tcti")), run(stage::lib()));
    let shown = format!("the C modules:\n{}\nours:\n{}", output::show(&c), output::show(&ours));
    let name = program.file_name().and_then(OsStr::to_str).unwrap();
    match case.differing.iter().find(|(program, _)| *program == name) {
        Some((_, code)) => assert_eq!(ours.status.code(), Some(*code), "{shown}"),
        None => {
            assert!([Some(0), Some(SKIPPED)].contains(&c.status.code()), "{shown}");
            assert_eq!(ours.status, c.status, "{shown}");
        }
    }
}
