// SPDX-License-Identifier: BSD-2-Clause
//! What the caller loses with an error: whether the connection is kept, for a connection may be where keys and sessions
//! are.

use std::fmt::{self, Write};
use std::fs;
use tss2_kit::stage;

/// One fault of one transport.
struct Cost {
    /// The module, in which configuration.
    of: &'static str,
    fault: &'static str,
    connection: Connection,
    lost: &'static str,
    /// What shows it: a file below the root, and a name in it.
    held: (&'static str, &'static str),
}

/// What becomes of it.
#[derive(Clone, Copy)]
enum Connection {
    Kept,
    /// Closed, and opened again for the next command.
    Reopened,
    /// There is none between two commands, or the state file is it.
    PerCommand,
}

const INTRODUCTION: &str = "\
On /dev/tpmrm0 the connection is where keys and sessions are: they end with it. A command of cmd may be another such place.
There a connection is kept wherever it is certain that no late answer can meet another command, and what is left of an
exchange is read and dropped before the next one. A simulator keeps what is loaded whoever is connected, and so does a TPM on
a bus: there an error of the connection costs a new one, and nothing else.

A call that is refused (`BAD_SEQUENCE`, `BAD_VALUE`, `INSUFFICIENT_BUFFER`) and a receive that ends with `TRY_AGAIN` cost
nothing anywhere. With pcap and tctildr all is as with the module behind them.";

const COSTS: &[Cost] = &[
    device(
        "The resource manager refuses a handle that is not there (`EINVAL`), a fourth object or a fourth session (`ENOMEM`)",
        Connection::Kept,
        "the sessions, which the kernel ends; Linux 6.1 then fails with `EFAULT`, see below",
        ("c-tests/refused.c", "a_fourth_object"),
    ),
    device(
        "The command has more than 4096 bytes (`E2BIG`)",
        Connection::Kept,
        "nothing",
        ("c-tests/refused.c", "a_command_that_is_too_large"),
    ),
    device(
        "A command of an exchange that broke off is under way, or its response was not read (`EBUSY`)",
        Connection::Kept,
        "that response",
        ("c-tests/device.c", "a_response_that_nobody_read_is_dropped"),
    ),
    device(
        "Nobody read the response for 120 seconds, or another process did",
        Connection::Kept,
        "that response",
        ("c-tests/device.c", "a_response_that_is_gone_is_not_waited_for"),
    ),
    device(
        "The response is none of a TPM 2.0",
        Connection::Kept,
        "that response",
        ("src/device/tests.rs", "a_malformed_response_costs_one_command"),
    ),
    device(
        "The driver does not reach the TPM (`EIO`, `ETIME`) or has no use for its answer (`EFAULT`), once",
        Connection::Kept,
        "that response",
        ("tests/guest/src/refused.rs", "an_answer_that_is_none_costs_nothing"),
    ),
    device(
        "`EIO` or `EFAULT` again, without a response in between",
        Connection::Reopened,
        "all that was loaded through the connection; the log says so once",
        ("tests/guest/src/refused.rs", "an_error_again_and_again_is_the_end_of_the_connection"),
    ),
    device(
        "The TPM was removed (`ENODEV`, `EPIPE`, or `EIO` of a driver that is gone)",
        Connection::Reopened,
        "all that was loaded through the connection; the log says so once",
        ("tests/guest/src/refused.rs", "a_tpm_that_is_removed_is_said_to_be_lost_once"),
    ),
    device(
        "A process that shares the device is killed in the middle of an exchange",
        Connection::Kept,
        "that response",
        FORKS,
    ),
    cost(
        "libtpms",
        "The state file cannot be read or written",
        Connection::PerCommand,
        "what this command did: the TPM goes back to the state in the file",
        ("tests/reliability/src/table/files.rs", "The disk is full"),
    ),
    cost(
        "libtpms",
        "The TPM goes into failure mode",
        Connection::PerCommand,
        "what this command did",
        ("src/libtpms/tests.rs", "failure_mode_does_not_outlive_its_command"),
    ),
    cost(
        "libtpms",
        "A process that shares the file is killed in a command",
        Connection::PerCommand,
        "what this command did, or nothing",
        ("tests/e2e/survival.rs", "a_killed_process_leaves_a_state_that_loads"),
    ),
    cost(
        "swtpm",
        "An answer is none, or the connection is lost",
        Connection::PerCommand,
        "that response",
        ("src/swtpm/tests.rs", "a_connection_lost_at_any_offset_costs_one_command"),
    ),
    cost(
        "swtpm, keep=true",
        "An answer is none, or the connection is lost",
        Connection::Reopened,
        "that response",
        ("src/swtpm/tests.rs", "a_malformed_response_costs_one_command"),
    ),
    cost(
        "swtpm, keep=true",
        "A process that shares the connection is killed in the middle of an exchange",
        Connection::Reopened,
        "that response. From then on each process connects for each command, since swtpm serves one connection at a time",
        ("src/swtpm/tests.rs", "a_child_that_dies_in_an_exchange_leaves_no_bytes_for_its_parent"),
    ),
    cost(
        "mssim",
        "An answer is none, or the connection is lost",
        Connection::Reopened,
        "that response",
        ("src/mssim/tests.rs", "a_connection_lost_at_any_offset_costs_one_command"),
    ),
    cost(
        "mssim",
        "A command is cancelled",
        Connection::Kept,
        "that response",
        ("src/mssim/tests.rs", "a_cancelled_response_is_never_taken_for_the_next"),
    ),
    cost(
        "mssim",
        "A process that shares the connections is killed in the middle of an exchange",
        Connection::Reopened,
        "that response. From then on each process connects for each command, since a simulator serves one at a time",
        ("src/mssim/tests.rs", "bytes_left_by_a_dead_process_never_reach_another"),
    ),
    cost(
        "swtpm, mssim",
        "The simulator ends",
        Connection::Reopened,
        "what it had loaded",
        ("tests/reliability/src/table/away.rs", "Between two commands"),
    ),
    cost(
        "cmd",
        "An answer is none, or breaks off, or something was printed that nobody had asked for",
        Connection::Reopened,
        "all that was loaded through the command, where it goes with it",
        ("src/cmd/tests.rs", "a_malformed_response_costs_one_command"),
    ),
    cost(
        "cmd",
        "The command has ended between two commands of the TPM",
        Connection::Reopened,
        "all that was loaded through the command, where it goes with it",
        ("src/cmd/tests.rs", "a_command_that_exited_while_idle_is_restarted"),
    ),
    cost(
        "cmd",
        "A process that shares the command is killed in the middle of an exchange",
        Connection::Kept,
        "that response",
        ("src/cmd/tests.rs", "the_command_survives_a_process_that_dies_at_any_point_of_an_exchange"),
    ),
    cost(
        "pcap",
        "The module that is recorded takes no command any more after an error, as some C modules",
        Connection::Reopened,
        "all that was loaded through its connection; the log says so",
        ("src/pcap/tests.rs", "a_child_that_does_not_recover_is_reopened"),
    ),
    cost(
        "pcap",
        "The capture cannot be written",
        Connection::Kept,
        "the rest of the capture; the log says so once",
        ("src/pcap/tests.rs", "a_failed_capture_costs_no_response"),
    ),
    cost(
        "spidev, spi-helper",
        "The bus fails, the TPM does not get ready or sends garbage",
        Connection::Kept,
        "that response: the command is aborted",
        ("src/tis/tests/faults.rs", "every_error_of_the_bus_ends_one_command"),
    ),
    cost(
        "spidev, spi-helper",
        "A process that shares the bus is killed in the middle of an exchange",
        Connection::Kept,
        "that response: the command is aborted",
        ("tests/e2e/forks.rs", "a_spi_bus_in_whole_frames"),
    ),
    cost(
        "spi-ltt2go",
        "A transfer fails, the TPM does not get ready or sends garbage",
        Connection::Reopened,
        "that response: the command is aborted",
        ("tests/reliability/src/table/usb.rs", "A transfer stalls, or an endpoint halts, once"),
    ),
    cost(
        "spi-ltt2go",
        "The stick is pulled out",
        Connection::Reopened,
        "all that needs power; one command says `NO_CONNECTION`, also when the stick is back",
        ("tests/reliability/src/table/away.rs", "The command is told that its TPM was without power"),
    ),
];

/// Of every module that keeps a key where the connection does.
const FORKS: (&str, &str) = ("c-tests/forks.c", "workers_are_killed");

const fn device(
    fault: &'static str,
    connection: Connection,
    lost: &'static str,
    held: (&'static str, &'static str),
) -> Cost {
    cost("device", fault, connection, lost, held)
}

const fn cost(
    of: &'static str,
    fault: &'static str,
    connection: Connection,
    lost: &'static str,
    held: (&'static str, &'static str),
) -> Cost {
    Cost { of, fault, connection, lost, held }
}

/// Fails when a test that is named is not there.
pub(super) fn check() {
    for Cost { held: (file, name), .. } in COSTS {
        let text = fs::read_to_string(stage::repository().join(file)).unwrap_or_default();
        assert!(text.contains(name), "{file} has no {name}");
    }
}

/// The section of the page.
pub(super) fn show(page: &mut String) -> fmt::Result {
    writeln!(page, "\n## What an error costs\n\n{INTRODUCTION}\n")?;
    writeln!(page, "| | fault | connection | what is lost | test |\n|---|---|---|---|---|")?;
    for Cost { of, fault, connection, lost, held: (file, name) } in COSTS {
        let connection = match connection {
            Connection::Kept => "kept",
            Connection::Reopened => "reopened",
            Connection::PerCommand => "opened for each command",
        };
        writeln!(page, "| {of} | {fault} | {connection} | {lost} | {name} in `{file}` |")?;
    }
    Ok(())
}
