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
pub struct Cost {
    /// Milliseconds that poll waited.
    pub waited: f64,
    /// Milliseconds of the processor that waiting took.
    pub processor: f64,
    /// Commands sent.
    commands: u32,
    /// How often an answer was asked for before it was there.
    tries_again: u32,
}

/// The program.
pub fn program() -> PathBuf {
    program::build("async", Link::Staged("tss2-tctildr tss2-esys"), &["-ldl"])
}

/// Runs it, maybe `under` another program, until poll has waited for so many milliseconds for keys.
pub fn run(under: &str, by: By, milliseconds: u32, name_confs: &[String]) -> Cost {
    let by = match by {
        By::Loader => "loader",
        By::Program => "module",
    };
    let mut words = under.split_whitespace().map(OsString::from).chain([program().into_os_string()]);
    let mut command = stage::command(words.next().unwrap());
    let directory = tempfile::tempdir().unwrap();
    command.args(words).args([by, &milliseconds.to_string()]).args(name_confs);
    let printed = output::succeed(command.env("TCTI_PCAP_FILE", directory.path().join("capture")));
    let word = |name: &str| {
        let number = printed.split_whitespace().skip_while(|word| *word != name).nth(1);
        number.unwrap_or_else(|| panic!("no {name} in {printed}"))
    };
    Cost {
        waited: word("waited").parse().unwrap(),
        processor: word("processor").parse().unwrap(),
        commands: word("commands").parse().unwrap(),
        tries_again: word("tries_again").parse().unwrap(),
    }
}

impl Cost {
    /// An answer that comes in pieces wakes the program for each; a simulator writes three.
    pub fn assert_no_spin(&self) {
        assert!(
            self.tries_again <= 2 * self.commands,
            "asked {} times for {} answers",
            self.tries_again,
            self.commands
        );
    }
}
