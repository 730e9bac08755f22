// SPDX-License-Identifier: BSD-2-Clause
//! End-to-end tests of the staged tree, one module per topic. [`transports`], [`indirect`] and [`needs`] are shared by
//! the topics.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod abi;
mod asynchronous;
mod conformance;
mod differential;
mod forks;
mod hardening;
mod hostile;
mod indirect;
mod install;
mod layout;
mod limits;
mod linked;
mod loader;
mod log;
mod manual;
mod messages;
mod name_service;
mod needs;
mod pcap;
mod probing;
mod refused;
mod sid;
mod size;
mod ssh;
mod static_form;
mod survival;
mod tools;
mod traces;
mod transports;
mod uninitialised;
mod upstream;

use std::process::ExitCode;
use tss2_kit::program;
use tss2_kit::suite::Suite;

fn main() -> ExitCode {
    let arguments = libtest_mimic::Arguments::from_args();
    let mut suite = Suite::default();
    abi::tests(&mut suite);
    asynchronous::tests(&mut suite);
    conformance::tests(&mut suite);
    differential::tests(&mut suite);
    forks::tests(&mut suite);
    hardening::tests(&mut suite);
    hostile::tests(&mut suite);
    install::tests(&mut suite);
    layout::tests(&mut suite);
    limits::tests(&mut suite);
    linked::tests(&mut suite);
    loader::tests(&mut suite);
    log::tests(&mut suite);
    manual::tests(&mut suite);
    messages::tests(&mut suite);
    name_service::tests(&mut suite);
    pcap::tests(&mut suite);
    probing::tests(&mut suite);
    refused::tests(&mut suite);
    size::tests(&mut suite);
    static_form::tests(&mut suite);
    survival::tests(&mut suite);
    tools::tests(&mut suite);
    traces::tests(&mut suite);
    uninitialised::tests(&mut suite);
    upstream::tests(&mut suite);
    let conclusion = libtest_mimic::run(&arguments, suite.into_trials());
    program::clean_up();
    conclusion.exit_code()
}
