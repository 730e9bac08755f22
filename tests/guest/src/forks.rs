// SPDX-License-Identifier: BSD-2-Clause
//! Programs that fork, on the kernel's driver. The connection of /dev/tpmrm0 is the memory for keys: who opens another one
//! has none.

use tss2_kit::need::{Need, TPM2_TOOLS};
use tss2_kit::scenario::forks::Connection::Shared;
use tss2_kit::scenario::forks::{as_nobody, in_every_order};
use tss2_kit::suite::Suite;

const WAYS: [(&str, &str, &[Need]); 5] = [
    ("tpmrm0", "device:/dev/tpmrm0", &[]),
    ("tpm0", "device:/dev/tpm0", &[]),
    ("a_recorder", "pcap:device:/dev/tpmrm0", &[]),
    ("a_loader_in_a_loader", "tctildr:device:/dev/tpmrm0", &[]),
    ("a_command", "cmd:exec tpm2_send -T device:/dev/tpmrm0", &[TPM2_TOOLS]),
];

pub(crate) fn tests(suite: &mut Suite) {
    for (name, name_conf, needs) in WAYS {
        suite.test(format!("forks::in_every_order_with_{name}"), needs, move || {
            in_every_order(Shared, name_conf, &[]);
        });
        suite.test(format!("forks::as_nobody_with_{name}"), &[needs, &[Need::Root]].concat(), move || {
            as_nobody(Shared, name_conf);
        });
    }
}
