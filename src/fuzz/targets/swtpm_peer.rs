// SPDX-License-Identifier: BSD-2-Clause
//! swtpm's transport and a hostile swtpm, over TCP and over Unix sockets.
#![no_main]

#[path = "../../tcti-swtpm/src"]
mod module {
    pub(crate) mod start;
    pub(crate) mod swtpm;
}

use libfuzzer_sys::fuzz_target;
use module::swtpm::Swtpm;
use module::{start, swtpm};
use std::sync::{LazyLock, Mutex};
use tcti_core::{Result, Session};
use tss2_fuzz::peer::Peer;
use tss2_fuzz::simulator::{Input, Simulator, play};

impl Simulator for Swtpm {
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
    play::<Swtpm>(&mut PEERS.lock().expect("nobody panics"), &input);
});
