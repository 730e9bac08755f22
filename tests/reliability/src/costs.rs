// SPDX-License-Identifier: BSD-2-Clause
//! The cost of an error: whether the connection, where keys and sessions may be, is kept, and what is lost.

use super::document::one_sentence_per_line;
use super::table::TABLES;
use std::fmt::{self, Write};
use std::fs;
use tss2_kit::stage;

/// The cost of one fault.
struct Cost {
    /// The modules, in which configuration.
    of: &'static str,
    fault: &'static str,
    connection: Connection,
    lost: &'static str,
    proof: Proof,
}

/// What becomes of the connection.
#[derive(Clone, Copy)]
enum Connection {
    Kept,
    /// It is closed, and opened again for the next command.
    Reopened,
    /// Each command has its own connection, or opens the state file.
    PerCommand,
}

/// The test that fails when a cost is wrong.
#[derive(Clone, Copy)]
enum Proof {
    /// A function in a file, which is relative to the root of the repository.
    Test(&'static str, &'static str),
    /// A row of one of the tables.
    Row(&'static str),
}

const INTRODUCTION: &str = "\
On /dev/tpmrm0, keys and sessions belong to the connection and are lost with it.
A command of cmd may hold them in the same way.
There a connection is kept wherever no late response can reach another command; the rest of a broken exchange is read and dropped before the next one.
A simulator keeps what is loaded whoever is connected, and so does a TPM on a bus: there an error costs a new connection and nothing else.

A call that is refused (`BAD_SEQUENCE`, `BAD_VALUE`, `INSUFFICIENT_BUFFER`) and a receive that returns `TRY_AGAIN` cost nothing with any module.
With pcap and tctildr the costs are those of the underlying module.";

const COSTS: &[Cost] = &[
    device(
        "The resource manager refuses a handle that does not exist (`EINVAL`), or a fourth object or session (`ENOMEM`)",
        Connection::Kept,
        "the sessions, which the kernel ends; Linux 6.1 then fails with `EFAULT`, see below",
        Proof::Test("c-tests/refused.c", "a_fourth_object"),
    ),
    device(
        "The command has more than 4096 bytes (`E2BIG`)",
        Connection::Kept,
        "nothing",
        Proof::Test("c-tests/refused.c", "a_command_that_is_too_large"),
    ),
    device(
        "A command of a broken exchange is still under way, or its response was not read (`EBUSY`)",
        Connection::Kept,
        "that response",
        Proof::Test("c-tests/device.c", "a_response_that_nobody_read_is_dropped"),
    ),
    device(
        "The response was not read for 120 seconds, or another process has read it",
        Connection::Kept,
        "that response",
        Proof::Test("c-tests/device.c", "a_response_that_is_gone_is_not_waited_for"),
    ),
    device(
        "The response is not one of a TPM 2.0",
        Connection::Kept,
        "that response",
        Proof::Test("src/device/tests.rs", "a_malformed_response_costs_one_command"),
    ),
    device(
        "The driver cannot reach the TPM (`EIO`, `ETIME`) or rejects its response (`EFAULT`), once",
        Connection::Kept,
        "that response",
        Proof::Test("tests/guest/src/refused.rs", "a_malformed_response_costs_nothing"),
    ),
    device(
        "`EIO` or `EFAULT` again, without a response in between",
        Connection::Reopened,
        "everything that was loaded through the connection; logged once",
        Proof::Test("tests/guest/src/refused.rs", "a_repeated_error_reopens_the_connection"),
    ),
    device(
        "The TPM was removed (`ENODEV`, `EPIPE`, or `EIO` from a driver that was unbound)",
        Connection::Reopened,
        "everything that was loaded through the connection; logged once",
        Proof::Test("tests/guest/src/refused.rs", "the_removal_of_a_tpm_is_logged_once"),
    ),
    device(
        "A process that shares the device is killed during an exchange",
        Connection::Kept,
        "that response",
        // The same program tests every module whose keys belong to the connection.
        Proof::Test("c-tests/forks.c", "workers_are_killed"),
    ),
    cost(
        "libtpms",
        "The state file cannot be read or written",
        Connection::PerCommand,
        "the effect of this command: the TPM returns to the state in the file",
        Proof::Row("The file has reached RLIMIT_FSIZE"),
    ),
    cost(
        "libtpms",
        "The TPM enters failure mode",
        Connection::PerCommand,
        "the effect of this command",
        Proof::Test("src/libtpms/tests.rs", "failure_mode_does_not_outlive_its_command"),
    ),
    cost(
        "libtpms",
        "A process that shares the file is killed during a command",
        Connection::PerCommand,
        "the effect of this command, or nothing",
        Proof::Test("tests/e2e/survival.rs", "a_killed_process_leaves_a_state_that_loads"),
    ),
    cost(
        "swtpm",
        "The response is malformed, or the connection is lost",
        Connection::PerCommand,
        "that response",
        Proof::Test("src/swtpm/tests.rs", "a_connection_lost_at_any_offset_costs_one_command"),
    ),
    cost(
        "swtpm, keep=true",
        "The response is malformed, or the connection is lost",
        Connection::Reopened,
        "that response",
        Proof::Test("src/swtpm/tests.rs", "a_malformed_response_costs_one_command"),
    ),
    cost(
        "swtpm, keep=true",
        "A process that shares the connection is killed during an exchange",
        Connection::Reopened,
        "that response; from then on each process connects for each command, because swtpm serves one connection at a time",
        Proof::Test("src/swtpm/tests.rs", "a_child_that_dies_in_an_exchange_leaves_no_bytes_for_its_parent"),
    ),
    cost(
        "mssim",
        "The response is malformed, or the connection is lost",
        Connection::Reopened,
        "that response",
        Proof::Test("src/mssim/tests.rs", "a_connection_lost_at_any_offset_costs_one_command"),
    ),
    cost(
        "mssim",
        "A command is cancelled",
        Connection::Kept,
        "that response",
        Proof::Test("src/mssim/tests.rs", "a_cancelled_response_is_never_taken_for_the_next"),
    ),
    cost(
        "mssim",
        "A process that shares the connections is killed during an exchange",
        Connection::Reopened,
        "that response; from then on each process connects for each command, because a simulator serves one process at a time",
        Proof::Test("src/mssim/tests.rs", "bytes_left_by_a_dead_process_never_reach_another"),
    ),
    cost(
        "swtpm, mssim",
        "The simulator ends",
        Connection::Reopened,
        "everything that was loaded",
        Proof::Row("Between two commands"),
    ),
    cost(
        "cmd",
        "The response is malformed or breaks off, or the command has printed unsolicited bytes",
        Connection::Reopened,
        "everything that was loaded through the command, where the command holds it",
        Proof::Test("src/cmd/tests.rs", "a_malformed_response_costs_one_command"),
    ),
    cost(
        "cmd",
        "The command ends between two TPM commands",
        Connection::Reopened,
        "everything that was loaded through the command, where the command holds it",
        Proof::Test("src/cmd/tests.rs", "a_command_that_exited_while_idle_is_restarted"),
    ),
    cost(
        "cmd",
        "A process that shares the command is killed during an exchange",
        Connection::Kept,
        "that response",
        Proof::Test("src/cmd/tests.rs", "the_command_survives_a_process_that_dies_at_any_point_of_an_exchange"),
    ),
    cost(
        "pcap",
        "The underlying module takes no command after an error, as some C modules do",
        Connection::Reopened,
        "everything that was loaded through its connection; logged",
        Proof::Test("src/pcap/tests.rs", "a_child_that_does_not_recover_is_reopened"),
    ),
    cost(
        "pcap",
        "The capture cannot be written",
        Connection::Kept,
        "the rest of the capture; logged once",
        Proof::Test("src/pcap/tests.rs", "a_failed_capture_costs_no_response"),
    ),
    cost(
        "spidev, spi-helper",
        "The bus fails, or the TPM does not become ready or sends garbage",
        Connection::Kept,
        "that response: the command is aborted",
        Proof::Test("src/tis/tests/faults.rs", "every_error_of_the_bus_ends_one_command"),
    ),
    cost(
        "spidev, spi-helper",
        "A process that shares the bus is killed during an exchange",
        Connection::Kept,
        "that response: the command is aborted",
        Proof::Test("tests/e2e/forks.rs", "a_spi_bus_in_whole_frames"),
    ),
    cost(
        "spi-ltt2go",
        "A transfer fails, or the TPM does not become ready or sends garbage",
        Connection::Reopened,
        "that response: the command is aborted",
        Proof::Row("One transfer stalls, or one endpoint halts"),
    ),
    cost(
        "spi-ltt2go",
        "The stick is unplugged",
        Connection::Reopened,
        "everything that is lost without power; one command returns `NO_CONNECTION`, even when the stick is back",
        Proof::Row("Between two commands, and is back before the second"),
    ),
];

const fn device(fault: &'static str, connection: Connection, lost: &'static str, proof: Proof) -> Cost {
    cost("device", fault, connection, lost, proof)
}

const fn cost(of: &'static str, fault: &'static str, connection: Connection, lost: &'static str, proof: Proof) -> Cost {
    Cost { of, fault, connection, lost, proof }
}

/// Fails when a test or a row that proves a cost does not exist.
pub(super) fn check() {
    for cost in COSTS {
        match cost.proof {
            Proof::Test(file, name) => {
                let text = fs::read_to_string(stage::repository().join(file)).unwrap_or_default();
                assert!(text.contains(name), "{file} has no {name}, which tests/reliability/src/costs.rs names");
            }
            Proof::Row(what) => {
                let exists = TABLES.iter().any(|table| table.rows.iter().any(|row| row.what == what));
                assert!(exists, "no table has the row \"{what}\", which tests/reliability/src/costs.rs names");
            }
        }
    }
}

/// Writes the section of the page.
pub(super) fn show(page: &mut String) -> fmt::Result {
    writeln!(page, "\n## The cost of an error\n\n{}\n", one_sentence_per_line(INTRODUCTION))?;
    writeln!(page, "| | fault | connection | lost | test |\n|---|---|---|---|---|")?;
    for Cost { of, fault, connection, lost, proof } in COSTS {
        let connection = match connection {
            Connection::Kept => "kept",
            Connection::Reopened => "reopened",
            Connection::PerCommand => "opened for each command",
        };
        let proof = match proof {
            Proof::Test(file, name) => format!("{name} in `{file}`"),
            Proof::Row(what) => format!("row \"{what}\""),
        };
        writeln!(page, "| {of} | {fault} | {connection} | {lost} | {proof} |")?;
    }
    Ok(())
}
