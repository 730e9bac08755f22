// SPDX-License-Identifier: BSD-2-Clause
//! Programs that fork, on every TPM that keeps a key between two commands.

use tss2_kit::behind;
use tss2_kit::forks::Connection::{self, Apart, Shared};
use tss2_kit::forks::{as_nobody, in_every_order};
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{CC, LIBTPMS, Need, PKG_CONFIG, SWTPM, TPM2_TOOLS};
use tss2_kit::server::{Around, Socket, StateFile, Swtpm, Tpm};
use tss2_kit::suite::Suite;

/// The transport, what it needs, what forked processes share, and how the TPM starts.
type Case = (&'static str, &'static [Need], Connection, fn() -> Box<dyn Tpm>);

const SIM: &[Need] = &[LIBTPMS];
const BUS: &[Need] = &[LIBTPMS, CC, PKG_CONFIG];

const CASES: [Case; 16] = [
    ("swtpm_over_tcp", &[SWTPM], Apart, || Box::new(Swtpm::start(Socket::Tcp))),
    ("swtpm_over_a_unix_socket", &[SWTPM], Apart, || Box::new(Swtpm::start(Socket::Unix))),
    ("a_kept_connection_over_tcp", &[SWTPM], Shared, || kept("", Socket::Tcp)),
    ("a_kept_connection_over_a_unix_socket", &[SWTPM], Shared, || kept("", Socket::Unix)),
    ("mssim_over_tcp", SIM, Shared, || Box::new(Mssim::start(Socket::Tcp, 0))),
    ("mssim_over_a_unix_socket", SIM, Shared, || Box::new(Mssim::start(Socket::Unix, 0))),
    ("a_command", &[SWTPM, TPM2_TOOLS], Shared, behind::command),
    ("a_command_that_is_a_tpm", BUS, Shared, || behind::spi_in_memory("whole")),
    ("a_recorder", &[SWTPM], Apart, || Box::new(Around("pcap:", Swtpm::start(Socket::Tcp), ""))),
    ("a_recorder_with_a_kept_connection", &[SWTPM], Shared, || kept("pcap:", Socket::Unix)),
    ("a_recorder_with_mssim", SIM, Shared, || Box::new(Around("pcap:", Mssim::start(Socket::Unix, 0), ""))),
    ("a_loader_in_a_loader", &[SWTPM], Shared, || kept("tctildr:", Socket::Tcp)),
    ("libtpms_with_a_state_file", SIM, Apart, || Box::new(StateFile::new())),
    ("libtpms_in_memory", SIM, Apart, || Box::new(InMemory)),
    ("a_spi_bus_in_whole_frames", BUS, Shared, || behind::bus("whole", "")),
    ("a_spi_bus_with_wait_states", BUS, Shared, || behind::bus("held", "wait_states=2")),
];

/// A child that became nobody may not connect there; it has no need of that where a connection is shared, or a file is open.
const WITH_RIGHTS: [&str; 2] = ["swtpm_over_a_unix_socket", "libtpms_in_memory"];

pub(crate) fn tests(suite: &mut Suite) {
    for (name, needs, connection, start) in CASES {
        let needs = [needs, &[CC, PKG_CONFIG]].concat();
        suite.test(format!("forks::in_every_order_with_{name}"), &needs, move || {
            // Copies of a TPM do not see what the other does.
            let without: &[&str] = if name == "libtpms_in_memory" { &["parent_and_child_in_turn"] } else { &[] };
            in_every_order(connection, &start().name_conf(), without);
        });
        if !WITH_RIGHTS.contains(&name) {
            let needs = [&needs[..], &[Need::Root]].concat();
            suite.test(format!("forks::as_nobody_with_{name}"), &needs, move || {
                as_nobody(connection, &start().name_conf());
            });
        }
    }
}

fn kept(before: &'static str, socket: Socket) -> Box<dyn Tpm> {
    Box::new(Around(before, Swtpm::start(socket), ",keep=true"))
}

/// A TPM in the process of the program.
struct InMemory;

impl Tpm for InMemory {
    fn name_conf(&self) -> String {
        "libtpms:".to_owned()
    }
}
