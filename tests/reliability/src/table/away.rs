// SPDX-License-Identifier: BSD-2-Clause
//! The TPM goes away.

use super::cells::{ANSWERS, GONE, IO, IO_WHEN_BACK, NONE_HERE, NOT_OPENED};
use super::{Table, row};
use crate::death::Death;
use crate::fault::Fault;
use crate::module::Module::{Cmd, Device, Loader, Mssim, Pcap, Stick, Swtpm, SwtpmKept, SwtpmUnix};
use crate::outcome::{After, Cell, Codes, because, ends, goes_on, when_back};

pub(super) const TABLE: Table = Table {
    title: "The TPM goes away",
    text: "swtpm and mssim are killed and started again; so is the command of cmd, by the module itself. The driver of \
           /dev/tpmrm0 is taken from its device and given back to it; the stick is pulled out and plugged in. pcap and \
           tctildr have swtpm behind them.",
    columns: &[Swtpm, SwtpmUnix, SwtpmKept, Mssim, Cmd, Pcap, Loader, Device, Stick],
    rows: &[
        row("Before a context is opened", Fault::Death(Death::Unopened), NOT_OPENED).except(&[Cmd], STARTED),
        row("While Init waits for a reply", Fault::Death(Death::Opening), NOT_OPENED)
            .except(&[Cmd], STARTED)
            .except(&[Device], OPENED)
            .except(&[Stick], SEE_USB),
        row("Between two commands", Fault::Death(Death::Idle), IO_WHEN_BACK)
            .except(&[Cmd], ANSWERS)
            .except(&[Stick], GONE),
        row("Between two commands, and is back by then", Fault::Death(Death::IdleAndBack), ANSWERS)
            .except(&[Device], RESTARTED)
            .except(&[Stick], RESTARTED_STICK),
        row(
            "While transmit writes a command of 1 MiB, and it does not read",
            Fault::Death(Death::Written),
            IO_WHEN_BACK,
        )
        .except(&[Swtpm, Mssim], ROOM)
        .except(&[Cmd], WRITTEN_TO_CMD)
        .except(&[Device], TAKEN)
        .except(&[Stick], SEE_USB),
        row("Between transmit and receive", Fault::Death(Death::Sent), IO_WHEN_BACK)
            .except(&[Cmd], IO)
            .except(&[Device], RACES)
            .except(&[Stick], GONE),
        row("While receive waits", Fault::Death(Death::Awaited), IO_WHEN_BACK)
            .except(&[Cmd], IO)
            .except(&[Device], WAITS)
            .except(&[Stick], GONE),
        row("After receive has told the size", Fault::Death(Death::Sized), ARRIVED).except(&[Cmd], ANSWERS),
        row("Before Cancel", Fault::Death(Death::Cancel), NONE_AND_GONE)
            .except(&[Mssim], IO_WHEN_BACK)
            .except(&[Cmd], NONE_HERE)
            .except(&[Device, Stick], NOTHING),
        row("While Cancel waits for the reply", Fault::Death(Death::Cancelling), NOTHING)
            .except(&[Mssim], IO_WHEN_BACK),
        row("After Cancel", Fault::Death(Death::Cancelled), NOTHING).except(&[Mssim], IO_WHEN_BACK),
        row("Before SetLocality", Fault::Death(Death::Locality), IO_WHEN_BACK)
            .except(&[Mssim], LATER)
            .except(&[Cmd], NONE_HERE)
            .except(&[Device, Stick], NONE_AND_GONE),
        row("Before Finalize, between two commands", Fault::Death(Death::Finalize), ANSWERS),
        row("Before Finalize, while a response is due", Fault::Death(Death::FinalizeDue), ANSWERS),
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
    ends(Codes::Any(&["IO_ERROR", "SUCCESS"]), After::WhenBack),
    "A command that the driver has begun it finishes before it goes; one that only waits it drops.",
);
const WAITS: Cell = Cell::Not("The driver goes when no command is under way; see the row before.");
const ARRIVED: Cell = when_back(&["SUCCESS"]);
const NONE_AND_GONE: Cell = when_back(&["NOT_IMPLEMENTED"]);
const LATER: Cell = because(when_back(&["SUCCESS"]), "The locality goes out with the next command.");
const RESTARTED: Cell = because(
    IO,
    "What is open belongs to the driver that went. The command that fails shows it: what the caller had in the TPM may be lost.",
);
const RESTARTED_STICK: Cell = because(
    goes_on(&["NO_CONNECTION"]),
    "The command is told that its TPM was without power, and has to be started again, instead of being sent to it.",
);
