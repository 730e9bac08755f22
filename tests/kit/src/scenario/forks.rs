// SPDX-License-Identifier: BSD-2-Clause
//! A program that loads a key and forks, in one order after another: `c-tests/forks.c`.

use crate::output;
use crate::program::{self, Link};
use crate::stage;
use std::path::PathBuf;

/// The connections of the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// One connection, which they use in turn.
    Shared,
    /// The TPM alone: each process has a connection of its own.
    Separate,
}

/// The orders, as the program prints them. A program that skips one does not pass, and neither does one that adds one.
const ORDERS: [&str; 15] = [
    "the_parent_is_idle",
    IN_TURN,
    "the_parent_exits",
    "the_parent_sends_commands_and_exits",
    "the_parent_exits_while_a_response_is_due",
    "the_parent_finalizes_and_exits",
    "the_parent_finalizes_while_a_response_is_due",
    "the_parent_finalizes",
    "the_child_finalizes",
    "the_child_finalizes_while_the_parent_awaits_a_response",
    "the_parent_awaits_a_response",
    "the_parent_has_a_response",
    "eight_workers_at_once",
    "workers_are_killed",
    "it_becomes_a_daemon",
];

/// Parent and child add to one hash sequence, which takes a TPM that both see.
pub const IN_TURN: &str = "parent_and_child_in_turn";

/// One more order, which needs root.
const NOBODY: &str = "the_child_becomes_nobody";

/// Builds the program.
pub fn program() -> PathBuf {
    program::build("forks", Link::Staged("tss2-tctildr"), &[])
}

/// Runs all orders except those in `without`.
pub fn in_every_order(connection: Connection, name_conf: &str, without: &[&str]) {
    let orders: Vec<&str> = ORDERS.into_iter().filter(|order| !without.contains(order)).collect();
    run(connection, name_conf, &orders);
}

/// Runs the order in which the child loses the right to open the TPM.
pub fn as_nobody(connection: Connection, name_conf: &str) {
    run(connection, name_conf, &[NOBODY]);
}

fn run(connection: Connection, name_conf: &str, orders: &[&str]) {
    let mut command = stage::command(program());
    command.arg(if connection == Connection::Shared { "shared" } else { "separate" }).arg(name_conf);
    let left_out = ORDERS.into_iter().chain([NOBODY]).filter(|order| !orders.contains(order));
    command.args(left_out.map(|order| format!("-{order}")));
    let output = output::run(command.env("TSS2_LOG", "all+none").env("TCTI_PCAP_FILE", "/dev/null"));
    assert!(output.status.success() && output.stderr.is_empty(), "{}", output::show(&output));
    let printed = output::stdout(&output);
    let mut lines: Vec<&str> = printed.lines().collect();
    output::passes(lines.pop().unwrap_or_default(), 1);
    let passed = lines.into_iter().filter_map(|line| line.split_once(": ")).map(|(order, count)| {
        assert!(count.parse::<u32>().unwrap() > 0, "{order} checked nothing");
        order
    });
    assert!(passed.eq(orders.iter().copied()), "{printed}");
}
