// SPDX-License-Identifier: BSD-2-Clause
//! Workers are killed while they wait for the TPM or for their turn, again and again. Nobody but their own clients notices.

use super::{AT_ONCE, Chip, Serving};
use nix::sys::signal::{Signal, kill};
use std::collections::BTreeMap;
use std::env;
use tss2_e2e::web::{Kind, Load, wait_until};

/// How many are killed.
const KILLS: usize = 30;

pub(super) fn under_load(chip: Chip, kind: Kind) {
    let Serving { server, _tpm } = &chip.server(kind);
    let kills = env::var("TSS2_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let load = Load::start(server.client(), 4);
    let mut calls = BTreeMap::<i64, usize>::new();
    for number in 0..kills {
        let served = server.served_in_all();
        wait_until("a handshake since the last death", || server.served_in_all() > served);
        let mut busy = Vec::new();
        wait_until("a busy worker", || {
            busy = server.busy();
            !busy.is_empty()
        });
        let (pid, call) = busy[number % busy.len()];
        *calls.entry(call).or_default() += 1;
        kill(pid, Signal::SIGKILL).unwrap();
        wait_until("a successor", || server.workers().len() == kind.workers());
    }
    let tally = load.finish();
    println!("{calls:?}, {} right, {} wrong", tally.right.len(), tally.wrong.len());
    assert!(tally.not_by_death().is_empty(), "{:#?}", tally.not_by_death());
    server.client().all_right(2 * AT_ONCE, AT_ONCE);
}
