// SPDX-License-Identifier: BSD-2-Clause
//! The TPM goes away.

use super::cells::{INIT_FAILS, IO_ERROR, IO_ERROR_RECOVERS, NO_CONNECTION_RECOVERS, NOT_IMPLEMENTED, SUCCESS};
use super::{Table, row};
use crate::death::Death;
use crate::fault::Fault;
use crate::module::Module::{Cmd, Device, Loader, Mssim, Pcap, Stick, Swtpm, SwtpmKept, SwtpmUnix};
use crate::outcome::{After, Cell, Codes, because, continues, ends, recovers};

pub(super) const TABLE: Table = Table {
    title: "The TPM goes away",
    text: "swtpm and mssim are killed and started again; so is the command of cmd, by the module itself. The driver of \
           /dev/tpmrm0 is taken from its device and given back to it; the stick is pulled out and plugged in. pcap and \
           tctildr have swtpm behind them.",
    columns: &[Swtpm, SwtpmUnix, SwtpmKept, Mssim, Cmd, Pcap, Loader, Device, Stick],
    rows: &[
        row("Before a context is opened", Fault::Death(Death::BeforeInit), INIT_FAILS).except(&[Cmd], STARTED),
        row("While Init waits for a reply", Fault::Death(Death::DuringInit), INIT_FAILS)
            .except(&[Cmd], STARTED)
            .except(&[Device], OPENED)
            .except(&[Stick], SEE_USB),
        row("Between two commands", Fault::Death(Death::Idle), IO_ERROR_RECOVERS)
            .except(&[Cmd], SUCCESS)
            .except(&[Stick], NO_CONNECTION_RECOVERS),
        row("Between two commands, and is back by then", Fault::Death(Death::IdleAndBack), SUCCESS)
            .except(&[Device], RESTARTED)
            .except(&[Stick], RESTARTED_STICK),
        row(
            "While transmit writes a command of 1 MiB, and it does not read",
            Fault::Death(Death::DuringTransmit),
            IO_ERROR_RECOVERS,
        )
        .except(&[Swtpm, Mssim], ROOM)
        .except(&[Cmd], WRITTEN_TO_CMD)
        .except(&[Device], TAKEN)
        .except(&[Stick], SEE_USB),
        row("Between transmit and receive", Fault::Death(Death::Sent), IO_ERROR_RECOVERS)
            .except(&[Cmd], IO_ERROR)
            .except(&[Device], RACES)
            .except(&[Stick], NO_CONNECTION_RECOVERS),
        row("While receive waits", Fault::Death(Death::DuringReceive), IO_ERROR_RECOVERS)
            .except(&[Cmd], IO_ERROR)
            .except(&[Device], WAITS)
            .except(&[Stick], NO_CONNECTION_RECOVERS),
        row("After receive has told the size", Fault::Death(Death::Sized), ARRIVED).except(&[Cmd], SUCCESS),
        row("Before Cancel", Fault::Death(Death::BeforeCancel), NOT_IMPLEMENTED_RECOVERS)
            .except(&[Mssim], IO_ERROR_RECOVERS)
            .except(&[Cmd], NOT_IMPLEMENTED)
            .except(&[Device, Stick], NOTHING),
        row("While Cancel waits for the reply", Fault::Death(Death::DuringCancel), NOTHING)
            .except(&[Mssim], IO_ERROR_RECOVERS),
        row("After Cancel", Fault::Death(Death::Cancelled), NOTHING).except(&[Mssim], IO_ERROR_RECOVERS),
        row("Before SetLocality", Fault::Death(Death::BeforeSetLocality), IO_ERROR_RECOVERS)
            .except(&[Mssim], LATER)
            .except(&[Cmd], NOT_IMPLEMENTED)
            .except(&[Device, Stick], NOT_IMPLEMENTED_RECOVERS),
        row("Before Finalize, between two commands", Fault::Death(Death::BeforeFinalize), SUCCESS),
        row("Before Finalize, while a response is due", Fault::Death(Death::BeforeFinalizeDue), SUCCESS),
    ],
};

const STARTED: Cell = Cell::Not("Init starts the command, and does not wait for it.");
const OPENED: Cell = Cell::Not("Init opens the device, and does not wait for it.");
const SEE_USB: Cell = Cell::Not("See the table of the USB: it is pulled out at any transfer.");
const WRITTEN_TO_CMD: Cell =
    Cell::Unit("cmd/tests.rs", "a_command_that_ends_while_it_is_sent_something_is_noticed_at_once");
const ROOM: Cell = Cell::Not("On TCP the kernel takes it whole.");
const TAKEN: Cell = Cell::Not("The driver takes a command at once, or refuses it.");
const NOTHING: Cell = Cell::Not("There is no Cancel.");
const RACES: Cell = because(
    ends(Codes::Any(&["IO_ERROR", "SUCCESS"]), After::Recovers),
    "A command that the driver has begun it finishes before it goes; one that only waits it drops.",
);
const WAITS: Cell = Cell::Not("The driver goes when no command is under way; see the row before.");
const ARRIVED: Cell = recovers(&["SUCCESS"]);
const NOT_IMPLEMENTED_RECOVERS: Cell = recovers(&["NOT_IMPLEMENTED"]);
const LATER: Cell = because(recovers(&["SUCCESS"]), "The locality goes out with the next command.");
const RESTARTED: Cell = because(
    IO_ERROR,
    "What is open belongs to the driver that went. The command that fails shows it: what the caller had in the TPM may be lost.",
);
const RESTARTED_STICK: Cell = because(
    continues(&["NO_CONNECTION"]),
    "The command is told that its TPM was without power, and has to be started again, instead of being sent to it.",
);
