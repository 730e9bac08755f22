// SPDX-License-Identifier: BSD-2-Clause
//! No configuration string ends the process, takes long or needs much memory, however long or nested it is.

use std::fs;
use tss2_kit::need::{CC, LIBTPMS, Need};
use tss2_kit::program::{self, Link};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

/// The longest log line in bytes. A message shows up to 256 bytes of each text, escaped, and lists up to five file names.
const LONGEST_LINE: usize = 4 << 10;

pub(crate) fn tests(suite: &mut Suite) {
    for library in stage::libraries().into_keys().filter(|name| name != "tss2-tcti-spi-helper") {
        let needs: &[Need] = if library == "tss2-tcti-libtpms" { &[CC, LIBTPMS] } else { &[CC] };
        suite.test(format!("limits::every_string_is_bounded_in_{library}"), needs, move || bounded(&library, ""));
    }
    for name in ["device", "pcap", "spi-ltt2go"] {
        suite.test(format!("limits::every_string_is_bounded_in_tss2-tctildr_for_{name}"), &[CC], move || {
            bounded("tss2-tctildr", &format!("{name}:"));
        });
    }
}

/// Passes each string of the program, with `prefix` before it, to the Init function of a library.
fn bounded(library: &str, prefix: &str) {
    let dir = program::readable_dir(); // for the files that strings name
    let log = dir.path().join("log");
    let program = program::build("limits", Link::Nothing, &["-ldl", "-lpthread"]);
    let exports = stage::exports(library);
    let init = exports.iter().find(|name| name.ends_with("_Init")).unwrap();
    let mut command = stage::command(program);
    command.arg(stage::library(library.strip_prefix("tss2-").unwrap())).arg(init).arg(prefix);
    command.current_dir(dir.path()).env("TSS2_LOGFILE", &log);
    output::passes(&output::succeed(&mut command), 90);
    for line in fs::read(log).unwrap_or_default().split(|byte| *byte == b'\n') {
        assert!(line.len() <= LONGEST_LINE, "{} bytes: {}", line.len(), String::from_utf8_lossy(line));
    }
}
