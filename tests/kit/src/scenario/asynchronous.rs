// SPDX-License-Identifier: BSD-2-Clause
//! The distribution's libtss2-esys on our modules, without blocking calls: `c-tests/async.c`.

use crate::need::{CC, ESYS, Need, PKG_CONFIG, TSS2_HEADERS};
use crate::output;
use crate::program::{self, Link};
use crate::stage;
use std::ffi::OsString;
use std::path::PathBuf;

/// The needs of compiling the program.
pub const BUILD: [Need; 4] = [CC, ESYS, PKG_CONFIG, TSS2_HEADERS];

/// How the modules are opened.
#[derive(Clone, Copy)]
pub enum OpenedBy {
    /// By libtss2-tctildr.
    Loader,
    /// By the program itself.
    Program,
}

/// The cost of a run.
struct Cost {
    /// Milliseconds in poll.
    waited: f64,
    /// Milliseconds of processor time for waiting.
    waiting_cpu: f64,
    /// Milliseconds of processor time for everything: the commands, waiting and the responses.
    total_cpu: f64,
    /// Commands sent.
    commands: u32,
    /// How often a response was asked for too early.
    tries_again: u32,
}

/// The most processor time that one second of waiting may take, in milliseconds.
pub struct Limits {
    waiting_cpu: f64,
    /// Most of it is the work of libtss2-esys, about 0.3 ms for a command. A module that polls in a loop until the
    /// response arrives takes a second more.
    total_cpu: f64,
}

/// For a real processor; up to 2 and 15 ms were measured.
pub const REAL: Limits = Limits { waiting_cpu: 10.0, total_cpu: 100.0 };
/// For the emulated processor of the virtual machine; up to 7 and 180 ms were measured.
pub const EMULATED: Limits = Limits { waiting_cpu: 100.0, total_cpu: 500.0 };

/// Builds the program.
pub fn program() -> PathBuf {
    program::build("async", Link::Staged("tss2-tctildr tss2-esys"), &["-ldl"])
}

/// Has it wait one second for keys, and checks that waiting takes no processor time.
pub fn waits_without_work(by: OpenedBy, name_confs: &[String], limits: &Limits) {
    const WAITED: u32 = 1000;
    let Cost { waited, waiting_cpu, total_cpu, commands, tries_again } = keys("", by, WAITED, name_confs);
    assert!(waited >= WAITED.into(), "waited for {waited} ms");
    // A response that arrives in pieces wakes the program once per piece; a simulator writes three.
    assert!(tries_again <= 2 * commands, "asked {tries_again} times for {commands} responses");
    assert!(waiting_cpu < limits.waiting_cpu, "waiting took {waiting_cpu} ms of the processor");
    assert!(total_cpu < limits.total_cpu, "{commands} commands took {total_cpu} ms of the processor");
}

/// Runs the chain of commands once, with the program started by `under`.
pub fn run(under: &str, by: OpenedBy, name_confs: &[String]) {
    keys(under, by, 0, name_confs);
}

/// Runs it until poll has waited for `milliseconds` in total.
fn keys(under: &str, by: OpenedBy, milliseconds: u32, name_confs: &[String]) -> Cost {
    let by = match by {
        OpenedBy::Loader => "loader",
        OpenedBy::Program => "module",
    };
    let mut words = under.split_whitespace().map(OsString::from).chain([program().into_os_string()]);
    let mut command = stage::command(words.next().unwrap());
    let directory = tempfile::tempdir().unwrap();
    command.args(words).args([by, &milliseconds.to_string()]).args(name_confs);
    let printed = output::succeed(command.env("TCTI_PCAP_FILE", directory.path().join("capture")));
    Cost {
        waited: output::number(&printed, "waited"),
        waiting_cpu: output::number(&printed, "waiting_cpu"),
        total_cpu: output::number(&printed, "total_cpu"),
        commands: output::number(&printed, "commands"),
        tries_again: output::number(&printed, "tries_again"),
    }
}
