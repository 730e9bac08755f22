// SPDX-License-Identifier: BSD-2-Clause
//! Programs that fork, on the kernel's driver. The resource manager keeps keys per open file of /dev/tpmrm0: a process
//! that opens it again has no keys.

use tss2_kit::need::{Need, TPM2_TOOLS};
use tss2_kit::scenario::forks::Connection::Shared;
use tss2_kit::scenario::forks::{as_nobody, in_every_order};
use tss2_kit::suite::Suite;

const TCTIS: [(&str, &str, &[Need]); 5] = [
    ("tpmrm0", "device:/dev/tpmrm0", &[]),
    ("tpm0", "device:/dev/tpm0", &[]),
    ("a_recorder", "pcap:device:/dev/tpmrm0", &[]),
    ("a_loader_in_a_loader", "tctildr:device:/dev/tpmrm0", &[]),
    ("a_command", "cmd:exec tpm2_send -T device:/dev/tpmrm0", &[TPM2_TOOLS]),
];

pub(crate) fn tests(suite: &mut Suite) {
    for (name, name_conf, needs) in TCTIS {
        suite.test(format!("forks::in_every_order_with_{name}"), needs, move || {
            in_every_order(Shared, name_conf, &[]);
        });
        suite.test(format!("forks::as_nobody_with_{name}"), &[needs, &[Need::Root]].concat(), move || {
            as_nobody(Shared, name_conf);
        });
    }
}
