// SPDX-License-Identifier: BSD-2-Clause
//! The integration programs of tpm2-tss itself, on its own modules and on ours: each ends the same way on both. The variable
//! `TSS2_UPSTREAM` names its tree, with the programs built in it (CONTRIBUTING.md says how); without it there are no tests.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tss2_kit::behind;
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{LIBTPMS, Need, SWTPM, TPM2_TOOLS};
use tss2_kit::server::{Socket, StateFile, Swtpm, Tpm};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

/// A TPM that no other program has, and how a program opens it.
#[derive(Clone, Copy)]
struct Place {
    name: &'static str,
    needs: &'static [Need],
    start: fn() -> Box<dyn Tpm>,
    /// What is set before the name of the module.
    through: &'static str,
}

/// One that lives as long as a context.
struct InMemory;

impl Tpm for InMemory {
    fn name_conf(&self) -> String {
        "libtpms".to_owned()
    }
}

const IN_MEMORY: &str = "libtpms_in_memory";

const PLACES: [Place; 8] = [
    Place { name: "swtpm_over_tcp", needs: &[SWTPM], start: || Box::new(Swtpm::start(Socket::Tcp)), through: "" },
    Place { name: "swtpm_over_unix", needs: &[SWTPM], start: || Box::new(Swtpm::start(Socket::Unix)), through: "" },
    Place { name: IN_MEMORY, needs: &[LIBTPMS], start: || Box::new(InMemory), through: "" },
    Place { name: "libtpms", needs: &[LIBTPMS], start: || Box::new(StateFile::new()), through: "" },
    Place { name: "mssim", needs: &[LIBTPMS], start: || Box::new(Mssim::start(Socket::Tcp, 0)), through: "" },
    Place { name: "cmd", needs: &[SWTPM, TPM2_TOOLS], start: behind::command, through: "" },
    Place { name: "pcap", needs: &[SWTPM], start: || Box::new(Swtpm::start(Socket::Tcp)), through: "pcap:" },
    Place { name: "pcap_libtpms", needs: &[LIBTPMS], start: || Box::new(StateFile::new()), through: "pcap:" },
];

/// How a program ends that cannot run here.
const SKIPPED: i32 = 77;

/// How programs end on ours that fail on the modules in C. This one takes the context of cmd for mssim's, see
/// `docs/differences.md`.
const OTHERWISE: [(&str, &str, i32); 1] = [("cmd", "tpmclient.int", SKIPPED)];

/// Longer than the longest takes on a machine that is busy.
const SECONDS: &str = "300";

pub(crate) fn tests(suite: &mut Suite) {
    let Some(tree) = env::var_os("TSS2_UPSTREAM").map(PathBuf::from) else { return };
    let programs = programs(&tree);
    assert!(programs.len() > 200, "there are {} programs in {}", programs.len(), tree.display());
    for place in PLACES {
        for program in &programs {
            let name = program.file_name().unwrap().to_string_lossy().into_owned();
            // Those for FAPI open it twice, one context after the other.
            if place.name == IN_MEMORY && name.ends_with(".fint") {
                continue;
            }
            let (tree, program) = (tree.clone(), program.clone());
            let test = format!("upstream::{}::{name}", place.name);
            suite.test(test, place.needs, move || ends_alike(&tree, &program, &place));
        }
    }
}

/// Libtool has the programs themselves in a directory below.
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

fn ends_alike(tree: &Path, program: &Path, place: &Place) {
    let of_the_tree = |library: &str| tree.join("src").join(library).join(".libs");
    let run = |modules: PathBuf| {
        let (tpm, dir) = ((place.start)(), tempfile::tempdir().unwrap());
        let stack = ["tss2-esys", "tss2-sys", "tss2-mu", "tss2-fapi", "tss2-rc", "tss2-policy"].map(of_the_tree);
        let libraries = env::join_paths([modules].iter().chain(&stack)).unwrap();
        let mut command: Command = stage::distribution_command("timeout");
        command.arg(SECONDS).arg(program).current_dir(tree).env("LD_LIBRARY_PATH", libraries).env("HOME", dir.path());
        command.env("TPM20TEST_TCTI", format!("{}{}", place.through, tpm.name_conf()));
        output::run(command.env("TCTI_PCAP_FILE", dir.path().join("capture")))
    };
    let (c, ours) = (run(of_the_tree("tss2-tcti")), run(stage::lib()));
    let shown = format!("the C modules:\n{}\nours:\n{}", output::show(&c), output::show(&ours));
    let name = program.file_name().and_then(OsStr::to_str).unwrap();
    match OTHERWISE.into_iter().find(|(at, of, _)| (*at, *of) == (place.name, name)) {
        Some((.., code)) => assert_eq!(ours.status.code(), Some(code), "{shown}"),
        None => {
            assert!([Some(0), Some(SKIPPED)].contains(&c.status.code()), "{shown}");
            assert_eq!(ours.status, c.status, "{shown}");
        }
    }
}
