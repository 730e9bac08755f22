// SPDX-License-Identifier: BSD-2-Clause
//! The memory that calls use and leave behind: no call that succeeds allocates, and no response outlives its context. Nine
//! contexts survive a shortage of memory.

use crate::transports::{TRANSPORTS, Transport};
use std::path::PathBuf;
use tss2_kit::need::{CC, PKG_CONFIG, SWTPM};
use tss2_kit::program::{self, Link};
use tss2_kit::server::{SocketKind, Swtpm, TestTpm, Wrapped};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

pub(crate) fn tests(suite: &mut Suite) {
    for Transport { name, needs, start, .. } in TRANSPORTS {
        let needs = [needs, &[CC, PKG_CONFIG]].concat();
        suite.test(format!("traces::of_{name}"), &needs, move || traces(&*start()));
    }
    for (name, before, after) in [("a_kept_connection", "", ",keep=true"), ("a_recorder", "pcap:", "")] {
        suite.test(format!("traces::of_{name}"), &[SWTPM, CC, PKG_CONFIG], move || {
            traces(&Wrapped(before, Swtpm::start(SocketKind::Unix), after));
        });
    }
    for (library, init, conf) in [
        ("tcti-swtpm", "Tss2_Tcti_Swtpm_Init", ""),
        ("tcti-pcap", "Tss2_Tcti_Pcap_Init", "swtpm:"),
        ("tctildr", "Tss2_Tcti_TctiLdr_Init", "swtpm:"),
    ] {
        suite.test(format!("traces::nine_contexts_without_memory_{library}"), &[SWTPM, CC], move || {
            let swtpm = Swtpm::start(SocketKind::Unix);
            let mut program = stage::command(program::build("shortage", Link::Nothing, &["-ldl"]));
            program.arg(stage::library(library)).arg(init).arg(format!("{conf}{}", swtpm.conf()));
            output::succeed(program.env("TSS2_LOG", "all+none").env("TCTI_PCAP_FILE", "/dev/null"));
        });
    }
}

/// The calls of the program, in its output.
const CALLS: [&str; 6] = ["transmit", "getPollHandles", "size", "receive", "setLocality", "cancel"];

fn program() -> PathBuf {
    program::build("traces", Link::Staged("tss2-tctildr"), &["-rdynamic", "-fno-builtin"])
}

fn traces(tpm: &dyn TestTpm) {
    let mut program = stage::command(program());
    let printed = output::succeed(program.arg(tpm.name_conf()).env("TCTI_PCAP_FILE", "/dev/null"));
    let allocates = |call| match tpm.name_conf().split(':').next() {
        Some("libtpms") => call == "transmit", // libtpms does in each command, and so does the module, for its state
        Some("pcap") => call == "setLocality", // for the comment in the capture
        _ => false,
    };
    for call in CALLS.into_iter().filter(|call| !allocates(*call)) {
        assert_eq!(output::number::<u32>(&printed, call), 0, "{printed}");
    }
    let copies: u32 = output::number(&printed, "copies");
    assert_eq!(copies, 0, "{printed}");
}
