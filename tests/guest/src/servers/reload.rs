// SPDX-License-Identifier: BSD-2-Clause
//! A server reads its configuration again while it serves. Its master loads the key again, removes the old one from
//! the TPM, and only then has the old workers exit: the handshakes that these have begun fail with any TCTI. No other
//! handshake may fail.

use super::{AT_ONCE, Chip, Serving};
use std::collections::BTreeSet;
use tss2_kit::waiting::wait_until;
use tss2_kit::web::{Kind, Load};

/// The number of reloads.
const RELOADS: usize = 3;

pub(super) fn under_load(chip: Chip, kind: Kind) {
    let Serving { server, _tpm } = &chip.server(kind);
    let load = Load::start(server.client(), AT_ONCE / 2);
    let mut old = BTreeSet::new();
    for _ in 0..RELOADS {
        let workers: BTreeSet<_> = server.workers().into_iter().collect();
        server.reload();
        wait_until("new workers", || {
            let now = server.workers();
            now.len() == kind.workers() && now.iter().all(|worker| !workers.contains(worker))
        });
        let served = server.served();
        wait_until("handshakes of each", || {
            let now = server.served();
            server.workers().iter().all(|worker| now.get(worker) > served.get(worker))
        });
        old.extend(workers);
    }
    let tally = load.finish();
    let failed = server.failed();
    assert!(failed.is_subset(&old), "of {failed:?}, old are {old:?}: {:#?}", tally.failed);
    server.client().all_succeed(2 * AT_ONCE, AT_ONCE);
}
