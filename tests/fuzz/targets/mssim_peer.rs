// SPDX-License-Identifier: BSD-2-Clause
//! The simulators' transport and a hostile simulator, over TCP and over Unix sockets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{LazyLock, Mutex};
use tcti_core::{Result, Session};
use tcti_mssim::Mssim;
use tcti_mssim::abi::{MS_SIM_POWER_OFF, MS_SIM_TPM_SEND_COMMAND, TPM_SESSION_END};
use tss2_fuzz::peer::Peer;
use tss2_fuzz::simulator::{Input, Simulator, play};

/// Where commands come from unless the caller says otherwise.
const LOCALITY: u8 = 0;

/// The protocol of the simulators.
struct Protocol;

impl Simulator for Protocol {
    type Transport = Mssim;

    fn conf(_flag: bool) -> &'static str {
        ""
    }

    fn frame(command: Vec<u8>) -> Vec<u8> {
        let size = u32::try_from(command.len()).expect("not so large");
        [&MS_SIM_TPM_SEND_COMMAND.to_be_bytes()[..], &[LOCALITY], &size.to_be_bytes(), &command].concat()
    }

    fn envelope(response: &[u8]) -> Vec<u8> {
        let size = u32::try_from(response.len()).expect("not so large");
        [&size.to_be_bytes(), response, &[0; 4]].concat()
    }

    fn inside(envelope: &[u8]) -> &[u8] {
        let inside = envelope.get(4..envelope.len().saturating_sub(4)).unwrap_or_default();
        if envelope == Protocol::envelope(inside) { inside } else { &[] }
    }

    fn control(session: &mut Session<Mssim>) -> Result<()> {
        session.alongside(|mssim| mssim.platform(MS_SIM_POWER_OFF))
    }
}

static PEERS: LazyLock<Mutex<[Peer; 2]>> =
    LazyLock::new(|| Mutex::new([false, true].map(|tcp| Peer::new(tcp, Some(TPM_SESSION_END)))));

fuzz_target!(|input: Input| {
    tss2_fuzz::listen_to_log();
    play::<Protocol>(&mut PEERS.lock().expect("nobody panics"), &input);
});
