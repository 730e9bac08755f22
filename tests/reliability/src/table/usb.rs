// SPDX-License-Identifier: BSD-2-Clause
//! Faults of the USB and of the TPM behind it.

use super::cells::{INIT_FAILS, IO_ERROR, IO_ERROR_RECOVERS, SUCCESS, TRY_AGAIN};
use super::{Table, row};
use crate::fault::Fault;
use crate::module::Module;
use crate::outcome::{Cell, because, new_context, recovers};
use crate::reply::Code;
use crate::stick::NEVER;
use crate::stick::StickFault::{ClaimAfter, DeadAfter, From, Once};
use crate::stick::Transfers::{
    EmptyIn, GarbageIn, HaltIn, HaltOut, LongIn, NakControl, NakIn, NakOut, ShortIn, StallControl, StallIn, StallOut,
};
use crate::usb::Usb;

pub(super) const TABLE: Table = Table {
    title: "The USB fails",
    text: "The simulated LetsTrust-TPM2Go of `tests/sim/tpm2go/`, behind the kernel's USB stack.",
    columns: &[Module::Stick],
    rows: &[
        row(
            "One transfer stalls, or one endpoint halts",
            Fault::Usb(Usb::Transfer(&[
                Once(StallControl, 3),
                Once(StallOut, 3),
                Once(HaltOut, 3),
                Once(StallIn, 3),
                Once(HaltIn, 3),
            ])),
            IO_ERROR,
        ),
        row(
            "All transfers stall, or all endpoints halt",
            Fault::Usb(Usb::Transfer(&[
                From(StallControl, 0),
                From(StallOut, 0),
                From(HaltOut, 0),
                From(StallIn, 0),
                From(HaltIn, 0),
            ])),
            IO_ERROR_RECOVERS,
        ),
        row(
            "One transfer times out",
            Fault::Usb(Usb::Transfer(&[Once(NakControl, 3), Once(NakOut, 3), Once(NakIn, 3)])),
            IO_ERROR,
        ),
        row(
            "All transfers time out",
            Fault::Usb(Usb::Transfer(&[From(NakControl, 0), From(NakOut, 0), From(NakIn, 0)])),
            IO_ERROR_RECOVERS,
        ),
        row(
            "One transfer is too short or too long",
            Fault::Usb(Usb::Transfer(&[Once(ShortIn, 3), Once(LongIn, 3)])),
            IO_ERROR,
        ),
        row(
            "All transfers are too short or too long",
            Fault::Usb(Usb::Transfer(&[From(ShortIn, 0), From(LongIn, 0), From(EmptyIn, 3)])),
            IO_ERROR_RECOVERS,
        ),
        row(
            "The TPM sends only garbage, or nothing",
            Fault::Usb(Usb::Tpm(&[From(GarbageIn, 0), DeadAfter(0)])),
            IO_ERROR_RECOVERS,
        ),
        row("The TPM does not become ready, and another stick is plugged in", Fault::Usb(Usb::NeverReady), REPLACED),
        row(
            "One transfer fails during Init",
            Fault::Usb(Usb::DuringInit(&[
                Once(StallControl, 0),
                Once(NakControl, 0),
                Once(HaltOut, 0),
                Once(NakOut, 0),
            ])),
            INIT_FAILS,
        ),
        row(
            "The stick does not work during Init",
            Fault::Usb(Usb::DuringInit(&[
                From(NakControl, 0),
                From(HaltOut, 0),
                From(NakIn, 0),
                From(EmptyIn, 0),
                From(GarbageIn, 0),
                ClaimAfter(NEVER),
            ])),
            INIT_FAILS,
        ),
        row(
            "The response takes seconds, and 1,000 signals interrupt the receive call",
            Fault::Usb(Usb::Interrupted),
            SUCCESS,
        ),
        row("The stick is unplugged at any transfer of a command", Fault::Usb(Usb::Unplugged), UNPLUGGED),
        row("The stick is unplugged at any transfer of Init", Fault::Usb(Usb::UnpluggedInInit), NO_STICK),
        row(
            "The response arrives after the time-out, while the system clock is set back and forth",
            Fault::Usb(Usb::LateByAnotherClock),
            TRY_AGAIN,
        ),
    ],
};

const UNPLUGGED: Cell = because(
    recovers(&[Code::NoConnection, Code::Success]),
    "The response has arrived before the last three transfers.",
);
const NO_STICK: Cell = new_context(&[Code::NoConnection]);
const REPLACED: Cell = because(
    IO_ERROR_RECOVERS,
    "One more command is not sent and fails with `NO_CONNECTION`, which tells the caller that the TPM was without power.",
);
