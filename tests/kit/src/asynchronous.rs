// SPDX-License-Identifier: BSD-2-Clause
//! The distribution's libtss2-esys without a call that waits, on our modules: `c-tests/async.c`.

use crate::need::{CC, ESYS, Need, PKG_CONFIG, TSS2_HEADERS};
use crate::output;
use crate::program::{self, Link};
use crate::stage;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the program is compiled with.
pub const BUILD: [Need; 4] = [CC, ESYS, PKG_CONFIG, TSS2_HEADERS];

/// Who opens the modules.
#[derive(Clone, Copy)]
pub enum By {
    /// libtss2-tctildr.
    Loader,
    /// The program itself.
    Program,
}

/// What the keys of a run cost.
struct Cost {
    /// Milliseconds that poll waited.
    waited: f64,
    /// Milliseconds of the processor that waiting took.
    processor: f64,
    /// Milliseconds of the processor that all of it took: the commands, waiting and the answers.
    whole: f64,
    /// Commands sent.
    commands: u32,
    /// How often an answer was asked for before it was there.
    tries_again: u32,
}

/// What a second of waiting may take of the processor, in milliseconds.
pub struct Limits {
    processor: f64,
    /// Most of it is the work of libtss2-esys, some 0.3 ms for a command. A module that is busy until its answer is there
    /// takes a second more.
    whole: f64,
}

/// On a real processor; up to 2 and 15 were measured.
pub const REAL: Limits = Limits { processor: 10.0, whole: 100.0 };
/// On that of the virtual machine, which is simulated; up to 7 and 180 were measured.
pub const SIMULATED: Limits = Limits { processor: 100.0, whole: 500.0 };

/// The program.
pub fn program() -> PathBuf {
    program::build("async", Link::Staged("tss2-tctildr tss2-esys"), &["-ldl"])
}

/// Lets it wait for keys for a second, without work.
pub fn waits_without_work(by: By, name_confs: &[String], limits: &Limits) {
    const WAITED: u32 = 1000;
    let Cost { waited, processor, whole, commands, tries_again } = keys("", by, WAITED, name_confs);
    assert!(waited >= WAITED.into(), "waited for {waited} ms");
    // An answer that comes in pieces wakes the program for each; a simulator writes three.
    assert!(tries_again <= 2 * commands, "asked {tries_again} times for {commands} answers");
    assert!(processor < limits.processor, "waiting took {processor} ms");
    assert!(whole < limits.whole, "{commands} commands took {whole} ms");
}

/// Runs the chain of commands alone, `under` another program.
pub fn run(under: &str, by: By, name_confs: &[String]) {
    keys(under, by, 0, name_confs);
}

/// Runs it until poll has waited for so many milliseconds for keys.
fn keys(under: &str, by: By, milliseconds: u32, name_confs: &[String]) -> Cost {
    let by = match by {
        By::Loader => "loader",
        By::Program => "module",
    };
    let mut words = under.split_whitespace().map(OsString::from).chain([program().into_os_string()]);
    let mut command = stage::command(words.next().unwrap());
    let directory = tempfile::tempdir().unwrap();
    command.args(words).args([by, &milliseconds.to_string()]).args(name_confs);
    let printed = output::succeed(command.env("TCTI_PCAP_FILE", directory.path().join("capture")));
    Cost {
        waited: output::number(&printed, "waited"),
        processor: output::number(&printed, "processor"),
        whole: output::number(&printed, "whole"),
        commands: output::number(&printed, "commands"),
        tries_again: output::number(&printed, "tries_again"),
    }
}
