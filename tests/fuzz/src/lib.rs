// SPDX-License-Identifier: BSD-2-Clause
//! What the targets share: [`message`]s that belong to one command each, a [`peer`] that answers as the fuzzer says and
//! what a [`simulator`] of it must keep to, a TPM on a bus that lies ([`liar`]), and a log that nobody reads ([`listen_to_log`]).

pub mod liar;
pub mod message;
pub mod peer;
pub mod simulator;
mod sys;

use std::fmt::{self, Write};
use std::sync::Once;

/// Takes every message to pieces and drops it: what formats a message is code, too.
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

/// Call this first in every target.
pub fn listen_to_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Nowhere).expect("nobody else has set one");
        log::set_max_level(log::LevelFilter::Info); // dumps of messages are slow
    });
}
