// SPDX-License-Identifier: BSD-2-Clause
//! A command that the TPM refuses does not cost loaded objects, on any transport.

use crate::transports::TRANSPORTS;
use tss2_kit::need::{CC, PKG_CONFIG, SWTPM};
use tss2_kit::scenario::refused::{RefusalCodes, TPM_CODES, keeps_objects};
use tss2_kit::server::{SocketKind, Swtpm, TestTpm};
use tss2_kit::suite::Suite;

pub(crate) fn tests(suite: &mut Suite) {
    for transport in TRANSPORTS {
        let needs = [transport.needs, &[CC, PKG_CONFIG]].concat();
        suite.test(format!("refused::objects_stay_loaded_on_{}", transport.name), &needs, move || {
            let codes = RefusalCodes { too_large: transport.too_large, ..TPM_CODES };
            let tpm = (transport.start)();
            keeps_objects(&tpm.name_conf(), codes);
        });
    }
    suite.test("refused::objects_stay_loaded_on_a_kept_connection", &[CC, PKG_CONFIG, SWTPM], || {
        let swtpm = Swtpm::start(SocketKind::Unix);
        keeps_objects(&format!("{},keep=true", swtpm.name_conf()), TPM_CODES);
    });
}
