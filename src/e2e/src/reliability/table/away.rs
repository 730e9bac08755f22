// SPDX-License-Identifier: BSD-2-Clause
//! The TPM goes away.

use super::cells::{ANSWERS, GONE, IO, IO_WHEN_BACK, NONE_HERE};
use super::{Table, row};
use crate::reliability::death::Death;
use crate::reliability::fault::Fault;
use crate::reliability::module::Module;
use crate::reliability::outcome::{Cell, because, goes_on, when_back};

pub(super) const TABLE: Table = Table {
    title: "The TPM goes away",
    text: "swtpm and mssim are killed and started again; so is the command of cmd, by the module itself. The driver of \
           /dev/tpmrm0 is taken from its device and given back to it; the stick is pulled out and plugged in. pcap and \
           tctildr have swtpm behind them.",
    columns: AWAY,
    rows: &[
        row(
            "Between two commands",
            Fault::Death(Death::Idle),
            &[
                IO_WHEN_BACK,
                IO_WHEN_BACK,
                IO_WHEN_BACK,
                IO_WHEN_BACK,
                ANSWERS,
                IO_WHEN_BACK,
                IO_WHEN_BACK,
                IO_WHEN_BACK,
                GONE,
            ],
        ),
        row(
            "Between two commands, and is back by then",
            Fault::Death(Death::IdleAndBack),
            &[ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, RESTARTED, RESTARTED_STICK],
        ),
        row(
            "Between transmit and receive",
            Fault::Death(Death::Sent),
            &[IO_WHEN_BACK, IO_WHEN_BACK, IO_WHEN_BACK, IO_WHEN_BACK, IO, IO_WHEN_BACK, IO_WHEN_BACK, WAITS, GONE],
        ),
        row(
            "While receive waits",
            Fault::Death(Death::Awaited),
            &[IO_WHEN_BACK, IO_WHEN_BACK, IO_WHEN_BACK, IO_WHEN_BACK, IO, IO_WHEN_BACK, IO_WHEN_BACK, WAITS, GONE],
        ),
        row(
            "After receive has told the size",
            Fault::Death(Death::Sized),
            &[ARRIVED, ARRIVED, ARRIVED, ARRIVED, ANSWERS, ARRIVED, ARRIVED, ARRIVED, ARRIVED],
        ),
        row(
            "Before SetLocality",
            Fault::Death(Death::Locality),
            &[
                IO_WHEN_BACK,
                IO_WHEN_BACK,
                IO_WHEN_BACK,
                LATER,
                NONE_HERE,
                IO_WHEN_BACK,
                IO_WHEN_BACK,
                NONE_AND_GONE,
                NONE_AND_GONE,
            ],
        ),
    ],
};

const AWAY: &[Module] = &[
    Module::Swtpm,
    Module::SwtpmUnix,
    Module::SwtpmKept,
    Module::Mssim,
    Module::Cmd,
    Module::Pcap,
    Module::Loader,
    Module::Device,
    Module::Stick,
];

const WAITS: Cell = Cell::Not("The driver finishes the command before it goes.");
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
