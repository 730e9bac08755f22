// SPDX-License-Identifier: BSD-2-Clause
//! The transport mssim with a hostile simulator, on TCP and on Unix sockets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{LazyLock, Mutex};
use tcti_core::{Result, Session};
use tcti_mssim::Mssim;
use tcti_mssim::abi::{MS_SIM_POWER_OFF, TPM_SESSION_END};
use tss2_faults::Framing;
use tss2_fuzz::peer::Server;
use tss2_fuzz::simulator::{Input, Protocol, play};

/// The protocol of the simulators.
struct Simulators;

impl Protocol for Simulators {
    type Transport = Mssim;

    const FRAMING: Framing = Framing::Enveloped;

    fn conf(_flag: bool) -> &'static str {
        ""
    }

    fn control(session: &mut Session<Mssim>) -> Result<()> {
        session.alongside(|mssim| mssim.platform(MS_SIM_POWER_OFF))
    }
}

static SERVERS: LazyLock<Mutex<[Server; 2]>> =
    LazyLock::new(|| Mutex::new([false, true].map(|tcp| Server::new(tcp, Some(TPM_SESSION_END)))));

fuzz_target!(|input: Input| {
    tss2_fuzz::listen_to_log();
    play::<Simulators>(&mut SERVERS.lock().expect("no thread panics"), &input);
});
