// SPDX-License-Identifier: BSD-2-Clause
//! Tests for the virtual machine of `src/vm`, which they may leave as they like: it is gone after its topic.
//! `cargo xtask vm-test` boots one machine per topic, and asks this program for what it needs to know:
//!
//! * `guest-tests topics`, on the host: a line per topic, see [`topic`]
//! * `guest-tests programs`, on the host: compiles the C programs, which takes long in the machine
//! * `guest-tests relay SOCKET`, in the machine: a command for the TCTI cmd
//! * `guest-tests [FILTER]`, in the machine: runs the tests of the topic that `TSS2_TOPIC` names
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod device;
mod package;
mod programs;
mod stick;
mod systemd;
mod topic;
mod udev;
mod udevd;
mod user;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use tss2_e2e::reliability;
use tss2_e2e::suite::Suite;

fn main() -> ExitCode {
    if let [_, relay, socket] = &env::args().collect::<Vec<_>>()[..] {
        if relay == "relay" {
            return reliability::relay(Path::new(socket));
        }
    }
    match env::args().nth(1).as_deref() {
        Some("topics") => topic::print(),
        Some("programs") => programs::build(),
        _ => return run(),
    }
    ExitCode::SUCCESS
}

fn run() -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    // They share a TPM.
    arguments.test_threads = Some(1);
    let wanted = env::var("TSS2_TOPIC").ok();
    let mut suite = Suite::default();
    for topic in topic::TOPICS.iter().filter(|topic| wanted.as_deref().is_none_or(|wanted| wanted == topic.name)) {
        (topic.tests)(&mut suite);
    }
    libtest_mimic::run(&arguments, suite.into_trials()).exit_code()
}
