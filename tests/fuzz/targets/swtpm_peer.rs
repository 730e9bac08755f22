// SPDX-License-Identifier: BSD-2-Clause
//! The transport swtpm with a hostile server, on TCP and on Unix sockets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{LazyLock, Mutex};
use tcti_core::{Result, Session};
use tcti_swtpm::Swtpm;
use tss2_faults::Framing;
use tss2_fuzz::peer::Server;
use tss2_fuzz::simulator::{Input, Protocol, play};

/// The protocol of swtpm.
struct SwtpmProtocol;

impl Protocol for SwtpmProtocol {
    type Transport = Swtpm;

    const FRAMING: Framing = Framing::Raw;

    fn conf(flag: bool) -> &'static str {
        if flag { ",keep=true" } else { "" }
    }

    fn control(session: &mut Session<Swtpm>) -> Result<()> {
        session.preempt(Swtpm::reset)
    }
}

static SERVERS: LazyLock<Mutex<[Server; 2]>> =
    LazyLock::new(|| Mutex::new([false, true].map(|tcp| Server::new(tcp, None))));

fuzz_target!(|input: Input| {
    tss2_fuzz::listen_to_log();
    play::<SwtpmProtocol>(&mut SERVERS.lock().expect("no thread panics"), &input);
});
