// SPDX-License-Identifier: BSD-2-Clause
//! What the caller loses with an error: whether the connection is kept, for a connection may be where keys and sessions
//! are.

use super::module::Module;
use crate::stage;
use std::fmt::{self, Write};
use std::fs;

/// One fault of one transport.
struct Cost {
    module: Module,
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
}

const INTRODUCTION: &str = "\
On /dev/tpmrm0 the connection is where keys and sessions are: they end with it. A connection is kept wherever it is certain
that no late answer can meet another command, and what is left of an exchange is read and dropped before the next one.";

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
        ("src/tcti-device/src/device/tests.rs", "garbage_costs_one_command_only"),
    ),
    device(
        "The driver does not reach the TPM (`EIO`, `ETIME`) or has no use for its answer (`EFAULT`), once",
        Connection::Kept,
        "that response",
        ("src/guest/src/refused.rs", "an_answer_that_is_none_costs_nothing"),
    ),
    device(
        "`EIO` or `EFAULT` again, without a response in between",
        Connection::Reopened,
        "all that was loaded through the connection; the log says so once",
        ("src/guest/src/refused.rs", "an_error_again_and_again_is_the_end_of_the_connection"),
    ),
    device(
        "The TPM was removed (`ENODEV`, `EPIPE`, or `EIO` of a driver that is gone)",
        Connection::Reopened,
        "all that was loaded through the connection; the log says so once",
        ("src/guest/src/refused.rs", "a_tpm_that_is_removed_is_said_to_be_lost_once"),
    ),
];

const fn device(
    fault: &'static str,
    connection: Connection,
    lost: &'static str,
    held: (&'static str, &'static str),
) -> Cost {
    Cost { module: Module::Device, fault, connection, lost, held }
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
    for Cost { module, fault, connection, lost, held: (file, name) } in COSTS {
        let connection = match connection {
            Connection::Kept => "kept",
            Connection::Reopened => "reopened",
        };
        writeln!(page, "| {} | {fault} | {connection} | {lost} | {name} in `{file}` |", module.title())?;
    }
    Ok(())
}
