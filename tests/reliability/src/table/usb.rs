// SPDX-License-Identifier: BSD-2-Clause
//! The USB of a LetsTrust-TPM2Go.

use super::cells::{INIT_FAILS, IO_ERROR, IO_ERROR_RECOVERS, SUCCESS, TRY_AGAIN};
use super::{Table, row};
use crate::fault::Fault;
use crate::module::Module;
use crate::outcome::{Cell, because, new_context, recovers};
use crate::usb::Usb;

pub(super) const TABLE: Table = Table {
    title: "The USB and what is behind it",
    text: "The simulated LetsTrust-TPM2Go of `tests/sim/tpm2go/`, behind the kernel's USB stack.",
    columns: &[Module::Stick],
    rows: &[
        row(
            "A transfer stalls, or an endpoint halts, once",
            Fault::Usb(Usb::Transfer(&["stall_control=3", "stall_out=3", "halt_out=3", "stall_in=3", "halt_in=3"])),
            IO_ERROR,
        ),
        row(
            "All transfers stall, or all endpoints halt, again and again",
            Fault::Usb(Usb::Transfer(&[
                "stall_control=0+",
                "stall_out=0+",
                "halt_out=0+",
                "stall_in=0+",
                "halt_in=0+",
            ])),
            IO_ERROR_RECOVERS,
        ),
        row(
            "A transfer is not answered, once",
            Fault::Usb(Usb::Transfer(&["nak_control=3", "nak_out=3", "nak_in=3"])),
            IO_ERROR,
        ),
        row(
            "No transfer is answered any more",
            Fault::Usb(Usb::Transfer(&["nak_control=0+", "nak_out=0+", "nak_in=0+"])),
            IO_ERROR_RECOVERS,
        ),
        row(
            "A transfer has too few or too many bytes, once",
            Fault::Usb(Usb::Transfer(&["short_in=3", "long_in=3"])),
            IO_ERROR,
        ),
        row(
            "All transfers have too few or too many bytes",
            Fault::Usb(Usb::Transfer(&["short_in=0+", "long_in=0+", "empty_in=3+"])),
            IO_ERROR_RECOVERS,
        ),
        row(
            "The TPM sends garbage only, or nothing any more",
            Fault::Usb(Usb::Tpm(&["garbage_in=0+", "dead_after=0"])),
            IO_ERROR_RECOVERS,
        ),
        row("The TPM does not get ready, and another one is plugged in", Fault::Usb(Usb::NeverReady), ANOTHER),
        row(
            "It fails once when a context is opened",
            Fault::Usb(Usb::AtInit(&["stall_control=0", "nak_control=0", "halt_out=0", "nak_out=0"])),
            INIT_FAILS,
        ),
        row(
            "It does not work when a context is opened",
            Fault::Usb(Usb::AtInit(&[
                "nak_control=0+",
                "halt_out=0+",
                "nak_in=0+",
                "empty_in=0+",
                "garbage_in=0+",
                "claim_after=1000000",
            ])),
            INIT_FAILS,
        ),
        row(
            "The answer takes seconds, in which 1,000 signals interrupt the receive that waits for it",
            Fault::Usb(Usb::Interrupted),
            SUCCESS,
        ),
        row("It is pulled out in the middle of a command, at any transfer", Fault::Usb(Usb::Unplugged), UNPLUGGED),
        row("It is pulled out while a context is opened, at any transfer", Fault::Usb(Usb::UnpluggedAtInit), NOT_FOUND),
        row(
            "The answer comes after the time-out, and the clock of the system is set to and fro meanwhile",
            Fault::Usb(Usb::LateByAnotherClock),
            TRY_AGAIN,
        ),
    ],
};

const UNPLUGGED: Cell =
    because(recovers(&["NO_CONNECTION", "SUCCESS"]), "The response is there before the last three transfers.");
const NOT_FOUND: Cell = new_context(&["NO_CONNECTION"]);
const ANOTHER: Cell = because(
    IO_ERROR_RECOVERS,
    "One command more fails, with `NO_CONNECTION`: it is told that the TPM was without power, instead of being sent to it.",
);
