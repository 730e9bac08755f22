// SPDX-License-Identifier: BSD-2-Clause
//! Programs that fork, on every TPM that keeps a key between two commands.

use crate::indirect::{self, SpiTransfers};
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{CC, LIBTPMS, Need, PKG_CONFIG, SWTPM, TPM2_TOOLS};
use tss2_kit::scenario::forks::Connection::{self, Separate, Shared};
use tss2_kit::scenario::forks::{IN_TURN, as_nobody, in_every_order};
use tss2_kit::server::{SocketKind, StateFile, Swtpm, TestTpm, Wrapped};
use tss2_kit::suite::Suite;

struct Case {
    name: &'static str,
    needs: &'static [Need],
    connection: Connection,
    start: fn() -> Box<dyn TestTpm>,
    /// Orders that this TPM cannot pass.
    without: &'static [&'static str],
    /// Whether the order runs in which the child becomes nobody. Such a child may not connect to the Unix socket of a
    /// swtpm, and for a TPM inside of the process the order would show nothing.
    runs_as_nobody: bool,
}

const PLAIN: Case = Case {
    name: "",
    needs: &[],
    connection: Separate,
    start: || Box::new(StateFile::new()),
    without: &[],
    runs_as_nobody: true,
};

const SIM: &[Need] = &[LIBTPMS];
const BUS: &[Need] = &[LIBTPMS, CC, PKG_CONFIG];

const CASES: [Case; 16] = [
    Case { name: "swtpm_over_tcp", needs: &[SWTPM], start: || Box::new(Swtpm::start(SocketKind::Tcp)), ..PLAIN },
    Case {
        name: "swtpm_over_a_unix_socket",
        needs: &[SWTPM],
        start: || Box::new(Swtpm::start(SocketKind::Unix)),
        runs_as_nobody: false,
        ..PLAIN
    },
    Case {
        name: "a_kept_connection_over_tcp",
        needs: &[SWTPM],
        connection: Shared,
        start: || kept("", SocketKind::Tcp),
        ..PLAIN
    },
    Case {
        name: "a_kept_connection_over_a_unix_socket",
        needs: &[SWTPM],
        connection: Shared,
        start: || kept("", SocketKind::Unix),
        ..PLAIN
    },
    Case {
        name: "mssim_over_tcp",
        needs: SIM,
        connection: Shared,
        start: || Box::new(Mssim::start(SocketKind::Tcp, 0)),
        ..PLAIN
    },
    Case {
        name: "mssim_over_a_unix_socket",
        needs: SIM,
        connection: Shared,
        start: || Box::new(Mssim::start(SocketKind::Unix, 0)),
        ..PLAIN
    },
    Case { name: "a_command", needs: &[SWTPM, TPM2_TOOLS], connection: Shared, start: indirect::command, ..PLAIN },
    Case {
        name: "a_command_that_is_a_tpm",
        needs: BUS,
        connection: Shared,
        start: || indirect::spi_in_memory("whole"),
        ..PLAIN
    },
    Case {
        name: "a_recorder",
        needs: &[SWTPM],
        start: || Box::new(Wrapped("pcap:", Swtpm::start(SocketKind::Tcp), "")),
        ..PLAIN
    },
    Case {
        name: "a_recorder_with_a_kept_connection",
        needs: &[SWTPM],
        connection: Shared,
        start: || kept("pcap:", SocketKind::Unix),
        ..PLAIN
    },
    Case {
        name: "a_recorder_with_mssim",
        needs: SIM,
        connection: Shared,
        start: || Box::new(Wrapped("pcap:", Mssim::start(SocketKind::Unix, 0), "")),
        ..PLAIN
    },
    Case {
        name: "a_loader_in_a_loader",
        needs: &[SWTPM],
        connection: Shared,
        start: || kept("tctildr:", SocketKind::Tcp),
        ..PLAIN
    },
    Case { name: "libtpms_with_a_state_file", needs: SIM, ..PLAIN },
    Case {
        name: "libtpms_in_memory",
        needs: SIM,
        start: || Box::new(InMemory),
        // Each process has a copy of the TPM, which does not see the commands of the other.
        without: &[IN_TURN],
        runs_as_nobody: false,
        ..PLAIN
    },
    Case {
        name: "a_spi_bus_in_whole_frames",
        needs: BUS,
        connection: Shared,
        start: || indirect::bus(SpiTransfers::Whole, ""),
        ..PLAIN
    },
    Case {
        name: "a_spi_bus_with_wait_states",
        needs: BUS,
        connection: Shared,
        start: || indirect::bus(SpiTransfers::Held, "wait_states=2"),
        ..PLAIN
    },
];

pub(crate) fn tests(suite: &mut Suite) {
    for Case { name, needs, connection, start, without, runs_as_nobody } in CASES {
        let needs = [needs, &[CC, PKG_CONFIG]].concat();
        suite.test(format!("forks::in_every_order_with_{name}"), &needs, move || {
            let tpm = start();
            in_every_order(connection, &tpm.name_conf(), without);
        });
        if runs_as_nobody {
            let needs = [&needs[..], &[Need::Root]].concat();
            suite.test(format!("forks::as_nobody_with_{name}"), &needs, move || {
                let tpm = start();
                as_nobody(connection, &tpm.name_conf());
            });
        }
    }
}

fn kept(prefix: &'static str, socket: SocketKind) -> Box<dyn TestTpm> {
    Box::new(Wrapped(prefix, Swtpm::start(socket), ",keep=true"))
}

/// A TPM in the process of the program.
struct InMemory;

impl TestTpm for InMemory {
    fn name_conf(&self) -> String {
        "libtpms:".to_owned()
    }
}
