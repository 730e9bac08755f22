// SPDX-License-Identifier: BSD-2-Clause
//! The TPM goes away.

use super::cells::{
    INIT_FAILS, IO_ERROR, IO_ERROR_RECOVERS, NO_CONNECTION_RECOVERS, NOT_IMPLEMENTED, SUCCESS, SUCCESS_RECOVERS,
};
use super::{Table, row};
use crate::death::Death;
use crate::fault::Fault;
use crate::module::Module::{Cmd, Device, Loader, Mssim, Pcap, Stick, Swtpm, SwtpmKept, SwtpmUnix};
use crate::outcome::{After, Cell, Codes, because, continues, ends, recovers};
use crate::reply::Code;

pub(super) const TABLE: Table = Table {
    title: "The TPM goes away",
    text: "swtpm and mssim are killed and restarted; so is the command of cmd, by the module itself. The driver of \
           /dev/tpmrm0 is unbound from its device and bound again; the stick is unplugged and plugged in. pcap and \
           tctildr use swtpm.",
    columns: &[Swtpm, SwtpmUnix, SwtpmKept, Mssim, Cmd, Pcap, Loader, Device, Stick],
    rows: &[
        row("Before Init", Fault::Death(Death::BeforeInit), INIT_FAILS).except(&[Cmd], INIT_STARTS_IT),
        row("While Init waits for a reply", Fault::Death(Death::DuringInit), INIT_FAILS)
            .except(&[Cmd], INIT_STARTS_IT)
            .except(&[Device], INIT_OPENS_IT)
            .except(&[Stick], SEE_USB),
        row("Between two commands", Fault::Death(Death::Idle), IO_ERROR_RECOVERS)
            .except(&[Cmd], SUCCESS)
            .except(&[Stick], NO_CONNECTION_RECOVERS),
        row("Between two commands, and is back before the second", Fault::Death(Death::IdleAndBack), SUCCESS)
            .except(&[Device], OTHER_DRIVER)
            .except(&[Stick], WITHOUT_POWER),
        row(
            "While transmit writes a command of 1 MiB that the TPM does not read",
            Fault::Death(Death::DuringTransmit),
            IO_ERROR_RECOVERS,
        )
        .except(&[Swtpm, Mssim], BUFFERED)
        .except(&[Cmd], UNIT_TEST_OF_CMD)
        .except(&[Device], TAKEN_AT_ONCE)
        .except(&[Stick], SEE_USB),
        row("Between transmit and receive", Fault::Death(Death::Sent), IO_ERROR_RECOVERS)
            .except(&[Cmd], IO_ERROR)
            .except(&[Device], MAY_FINISH)
            .except(&[Stick], NO_CONNECTION_RECOVERS),
        row("While receive waits", Fault::Death(Death::DuringReceive), IO_ERROR_RECOVERS)
            .except(&[Cmd], IO_ERROR)
            .except(&[Device], UNBOUND_WHEN_IDLE)
            .except(&[Stick], NO_CONNECTION_RECOVERS),
        row("After receive has returned the size", Fault::Death(Death::Sized), SUCCESS_RECOVERS)
            .except(&[Cmd], SUCCESS),
        row("Before Cancel", Fault::Death(Death::BeforeCancel), NOT_IMPLEMENTED_RECOVERS)
            .except(&[Mssim], IO_ERROR_RECOVERS)
            .except(&[Cmd], NOT_IMPLEMENTED)
            .except(&[Device, Stick], NO_CANCEL),
        row("While Cancel waits for a reply", Fault::Death(Death::DuringCancel), NO_CANCEL)
            .except(&[Mssim], IO_ERROR_RECOVERS),
        row("After Cancel", Fault::Death(Death::Cancelled), NO_CANCEL).except(&[Mssim], IO_ERROR_RECOVERS),
        row("Before SetLocality", Fault::Death(Death::BeforeSetLocality), IO_ERROR_RECOVERS)
            .except(&[Mssim], SENT_LATER)
            .except(&[Cmd], NOT_IMPLEMENTED)
            .except(&[Device, Stick], NOT_IMPLEMENTED_RECOVERS),
        row("Before Finalize, with no command under way", Fault::Death(Death::BeforeFinalize), SUCCESS),
        row("Before Finalize, with a response due", Fault::Death(Death::BeforeFinalizeDue), SUCCESS),
    ],
};

const INIT_STARTS_IT: Cell = Cell::Not("Init starts the command and does not wait for it.");
const INIT_OPENS_IT: Cell = Cell::Not("Init opens the device and does not wait for it.");
const SEE_USB: Cell = Cell::Not("See the table of the USB, where the stick is unplugged at each transfer.");
const UNIT_TEST_OF_CMD: Cell = Cell::Unit("cmd/tests.rs", "a_command_that_exits_during_a_write_is_noticed_at_once");
const BUFFERED: Cell = Cell::Not("On TCP the kernel buffers the whole command.");
const TAKEN_AT_ONCE: Cell = Cell::Not("The driver takes a command at once or refuses it.");
const NO_CANCEL: Cell = Cell::Not("The module does not implement Cancel.");
const MAY_FINISH: Cell = because(
    ends(Codes::Any(&[Code::IoError, Code::Success]), After::Recovers),
    "The driver finishes a command that it has begun, and drops one that still waits.",
);
const UNBOUND_WHEN_IDLE: Cell =
    Cell::Not("The driver is unbound only when no command is under way; see the row above.");
const NOT_IMPLEMENTED_RECOVERS: Cell = recovers(&[Code::NotImplemented]);
const SENT_LATER: Cell = because(SUCCESS_RECOVERS, "The locality is sent with the next command.");
const OTHER_DRIVER: Cell = because(
    IO_ERROR,
    "The open file belongs to the driver that was unbound. The error tells the caller that its keys and sessions may be lost.",
);
const WITHOUT_POWER: Cell = because(
    continues(&[Code::NoConnection]),
    "The command is not sent. The error tells the caller that the TPM was without power and has to be started up again.",
);
