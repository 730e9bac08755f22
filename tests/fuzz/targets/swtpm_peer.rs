// SPDX-License-Identifier: BSD-2-Clause
//! swtpm's transport and a hostile swtpm, over TCP and over Unix sockets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{LazyLock, Mutex};
use tcti_core::{Result, Session};
use tcti_swtpm::Swtpm;
use tss2_fuzz::peer::Peer;
use tss2_fuzz::simulator::{Input, Simulator, play};

/// The protocol of swtpm.
struct Protocol;

impl Simulator for Protocol {
    type Transport = Swtpm;

    fn conf(flag: bool) -> &'static str {
        if flag { ",keep=true" } else { "" }
    }

    fn frame(command: Vec<u8>) -> Vec<u8> {
        command
    }

    fn envelope(response: &[u8]) -> Vec<u8> {
        response.to_vec()
    }

    fn inside(envelope: &[u8]) -> &[u8] {
        envelope
    }

    fn control(session: &mut Session<Swtpm>) -> Result<()> {
        session.preempt(Swtpm::reset)
    }
}

static PEERS: LazyLock<Mutex<[Peer; 2]>> = LazyLock::new(|| Mutex::new([false, true].map(|tcp| Peer::new(tcp, None))));

fuzz_target!(|input: Input| {
    tss2_fuzz::listen_to_log();
    play::<Protocol>(&mut PEERS.lock().expect("nobody panics"), &input);
});
