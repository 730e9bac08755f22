// SPDX-License-Identifier: BSD-2-Clause
//! What a TPM refuses costs nothing that was loaded, whichever transport leads to it.

use tss2_kit::every::EVERY;
use tss2_kit::need::{CC, PKG_CONFIG, SWTPM};
use tss2_kit::refused::{BY_THE_TPM, IO_ERROR, Refusals, nothing_is_lost};
use tss2_kit::server::{Socket, Swtpm, Tpm};
use tss2_kit::suite::Suite;

pub(crate) fn tests(suite: &mut Suite) {
    for (name, needs, start) in EVERY {
        suite.test(format!("refused::nothing_is_lost_on_{name}"), &[needs, &[CC, PKG_CONFIG]].concat(), move || {
            let tpm = start();
            let name_conf = tpm.name_conf();
            // A command that takes no such command ends, and is started again.
            let size = if name_conf.starts_with("cmd:") { IO_ERROR } else { BY_THE_TPM.size };
            nothing_is_lost(&name_conf, Refusals { size, ..BY_THE_TPM });
        });
    }
    suite.test("refused::nothing_is_lost_on_a_connection_that_is_kept", &[CC, PKG_CONFIG, SWTPM], || {
        let swtpm = Swtpm::start(Socket::Unix);
        nothing_is_lost(&format!("{},keep=true", swtpm.name_conf()), BY_THE_TPM);
    });
}
