// SPDX-License-Identifier: BSD-2-Clause
//! Tests in the virtual machine of `tools/vm`, which they may leave in any state, because each topic has a machine of
//! its own. `cargo xtask vm-test` boots the machines and runs this program:
//!
//! * `guest-tests topics`, on the host: prints a line per topic, see [`topic`]
//! * `guest-tests programs`, on the host: compiles the C programs, which would be slow in the machine
//! * `guest-tests initramfs TOPIC LAYER MODULES`, on the host: builds the initramfs that the topic boots, see
//!   [`early_boot`]
//! * `guest-tests relay SOCKET`, in the machine: relays between a socket and stdin and stdout, as a command for the
//!   TCTI cmd
//! * `guest-tests vtpm SOCKET`, in the machine: serves the kernel's driver, see [`vtpm`]
//! * `guest-tests cuse SOCKET MILLISECONDS`, in the machine: serves the kernel's CUSE, see [`cuse`]
//! * `guest-tests [FILTER]`, in the machine: runs the tests of the topic that `TSS2_TOPIC` names
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod cuse;
mod device;
mod early_boot;
mod forks;
mod opening;
mod package;
mod programs;
mod refused;
mod servers;
mod steps;
mod stick;
mod systemd;
mod topic;
mod udev;
mod udevd;
mod user;
mod vtpm;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tss2_kit::suite::Suite;
use tss2_reliability as reliability;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["topics"] => topic::print(),
        ["programs"] => programs::build(),
        ["initramfs", topic, layer, modules] => early_boot::build(topic, layer, modules),
        ["relay", socket] => return reliability::relay(Path::new(socket)),
        ["vtpm", socket] => vtpm::serve(Path::new(socket)),
        ["cuse", socket, latency] => cuse::serve(Path::new(socket), Duration::from_millis(latency.parse().unwrap())),
        _ => return run(),
    }
    ExitCode::SUCCESS
}

fn run() -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    // The tests of a topic share a TPM.
    arguments.test_threads = Some(1);
    let wanted = env::var("TSS2_TOPIC").ok();
    let mut suite = Suite::default();
    for topic in topic::TOPICS.iter().filter(|topic| wanted.as_deref().is_none_or(|wanted| wanted == topic.name)) {
        (topic.tests)(&mut suite);
    }
    libtest_mimic::run(&arguments, suite.into_trials()).exit_code()
}
