// SPDX-License-Identifier: BSD-2-Clause
//! Workers are killed repeatedly while they wait for the TPM or for their turn. Only their own clients notice.

use super::{AT_ONCE, Chip, Serving};
use nix::sys::signal::{Signal, kill};
use std::env;
use tss2_kit::waiting::wait_until;
use tss2_kit::web::{Kind, Load, is_alive};

/// How many are killed on the kernel's device, and on a swtpm, which is slow in an emulated machine. The environment
/// variable `TSS2_KILLS` sets another number.
const KILLS: (usize, usize) = (30, 10);

/// The upper limit as a multiple of this number: workers are killed until enough of them were signing.
const MOST: usize = 20;

pub(super) fn under_load(chip: Chip, kind: Kind) {
    let Serving { server, _tpm } = &chip.server(kind);
    let few = if chip == Chip::Device { KILLS.0 } else { KILLS.1 };
    let kills: usize = env::var("TSS2_KILLS").map_or(few, |kills| kills.parse().unwrap());
    // Apache checks only once a second whether it has enough children.
    let kills = if matches!(kind, Kind::Nginx(_)) { kills } else { kills.div_ceil(5) };
    let load = Load::start(server.client(), 4);
    let mut killed = 0;
    // A worker that is killed while it signs costs its client the handshake; one that looks busy may have signed
    // already. Half of the number have to be killed while they sign, so more are killed if necessary.
    while killed < kills || load.failed() < kills / 2 {
        assert!(killed < MOST * kills, "{killed} were killed, and only {} handshakes interrupted", load.failed());
        let served = server.served_in_all();
        wait_until("a handshake since the last death", || server.served_in_all() > served);
        let mut busy = Vec::new();
        wait_until("a busy worker", || {
            busy = server.busy();
            !busy.is_empty()
        });
        let victim = busy[killed % busy.len()];
        kill(victim, Signal::SIGKILL).unwrap();
        wait_until("a successor", || !is_alive(victim) && server.workers().len() == kind.workers());
        killed += 1;
    }
    let tally = load.finish();
    assert!(tally.not_by_death().is_empty(), "{:#?}", tally.not_by_death());
    assert!(server.failed().is_empty(), "{:?}", server.failed());
    server.client().all_succeed(2 * AT_ONCE, AT_ONCE);
}
