// SPDX-License-Identifier: BSD-2-Clause
//! The shared parts of the targets: [`message`]s that each belong to one command, a server that follows the fuzzer's
//! steps ([`peer`]), the exchanges with it and their invariants ([`simulator`]), a TPM on a faulty bus ([`bus`]), and a
//! logger that discards its records ([`listen_to_log`]).

pub mod bus;
pub mod message;
pub mod peer;
pub mod simulator;
mod sys;

use std::fmt::{self, Write};
use std::sync::Once;

/// Formats every message and discards it, because formatting is code under test, too.
struct Nowhere;

impl Write for Nowhere {
    fn write_str(&mut self, _text: &str) -> fmt::Result {
        Ok(())
    }
}

impl log::Log for Nowhere {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        write!(Nowhere, "{}", record.args()).expect("a message formats");
    }

    fn flush(&self) {}
}

/// Installs the logger. Every target calls this first.
pub fn listen_to_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Nowhere).expect("no other logger");
        log::set_max_level(log::LevelFilter::Info); // dumps of messages are slow
    });
}
