// SPDX-License-Identifier: BSD-2-Clause
//! What comes instead of an answer.

use super::cells::{BAD_SEQUENCE, INIT_FAILS, IO_ERROR, SUCCESS, TRY_AGAIN};
use super::{Table, row};
use crate::answers::Answer;
use crate::fault::Fault;
use crate::module::Module::{Cmd, Loader, Mssim, Pcap, Swtpm, SwtpmKept, SwtpmUnix, Terminal};
use crate::outcome::{After, Cell, Codes, because, continues, ends, new_context, recovers};

pub(super) const TABLE: Table = Table {
    title: "Answers that are none",
    text: "The peer is a scripted one. That of device is a pseudo-terminal, for the kernel's driver sends no such \
           things; that of cmd is a command which hands on what it gets. pcap and tctildr have swtpm behind them. These, \
           mssim and keep=true are on Unix sockets.",
    columns: &[Swtpm, SwtpmUnix, SwtpmKept, Mssim, Cmd, Terminal, Pcap, Loader],
    rows: &[
        row("It comes byte by byte", Fault::Answer(Answer::Pieces), SUCCESS),
        row("Its header says 0 to 9 bytes", Fault::Answer(Answer::SizeBelowHeader), MALFORMED),
        row("Its header says more than comes, and the connection ends", Fault::Answer(Answer::SizeTooLarge), IO_ERROR)
            .except(&[Mssim], continues(&["IO_ERROR", "MALFORMED_RESPONSE"]))
            .except(&[Terminal], TERMINAL_CLOSED),
        row("Its header says 1 MiB and a byte, or 4 GiB", Fault::Answer(Answer::SizeAboveLimit), MALFORMED),
        row("There is something behind it", Fault::Answer(Answer::Trailing), MALFORMED),
        row("The connection ends at any of its bytes", Fault::Answer(Answer::End), IO_ERROR)
            .except(&[Terminal], TERMINAL_CLOSED),
        row("Some of it comes, and the rest after the time-out", Fault::Answer(Answer::Late), TRY_AGAIN),
        row(
            "Half of its header comes, or none or nearly all of it, and nothing more; the caller finalizes",
            Fault::Answer(Answer::Silence),
            GIVEN_UP,
        ),
        row(
            "It comes byte by byte, and 1,000 signals interrupt the receive that waits for it",
            Fault::Answer(Answer::Interrupted),
            SUCCESS,
        ),
        row(
            "It comes after the time-out, and the clock of the system is set to and fro meanwhile",
            Fault::Answer(Answer::LateByAnotherClock),
            TRY_AGAIN,
        ),
        row(
            "It is larger than the buffer of the caller, who tries again with a larger one",
            Fault::Answer(Answer::LargerThanBuffer),
            continues(&["INSUFFICIENT_BUFFER"]),
        ),
        row("It has 1 MiB, the most that is taken", Fault::Answer(Answer::Largest), SUCCESS)
            .except(&[Terminal], ONE_READ),
        row("It has 1 MiB, and malloc(3) gives nothing", Fault::Answer(Answer::LargestWithoutMemory), NO_MEMORY)
            .except(&[Cmd], NO_SHELL)
            .except(&[Terminal], ONE_READ),
        row("It is none of a TPM 2.0", Fault::Answer(Answer::NoTpm), MALFORMED),
        row(
            "It is none of a TPM 2.0, and the caller asks for it once more",
            Fault::Answer(Answer::NoTpmAgain),
            BAD_SEQUENCE,
        ),
        row("Something comes that nobody asked for, before a command", Fault::Answer(Answer::Unasked), NO_LINE)
            .except(&[SwtpmKept, Mssim], SUCCESS)
            .except(&[Cmd], UNASKED_OF_CMD)
            .except(&[Terminal], MESSAGES),
        row(
            "When a context is opened, the control channel ends at any byte of its replies",
            Fault::Answer(Answer::ControlEnds),
            INIT_FAILS,
        )
        .except(&[Cmd, Terminal], ONE_CHANNEL),
    ],
};

const MALFORMED: Cell = continues(&["MALFORMED_RESPONSE"]);
const TERMINAL_CLOSED: Cell = ends(Codes::Any(&["IO_ERROR", "MALFORMED_RESPONSE", "NO_CONNECTION"]), After::Recovers);
const NO_MEMORY: Cell = continues(&["MEMORY"]);
const GIVEN_UP: Cell = new_context(&["TRY_AGAIN"]);
const NO_LINE: Cell = Cell::Not("There is no connection between two commands.");
const MESSAGES: Cell = Cell::Not("A driver sends what was asked for.");
const UNASKED_OF_CMD: Cell = Cell::Unit("cmd/tests.rs", "what_is_printed_unasked_never_meets_a_command");
const ONE_CHANNEL: Cell = Cell::Not("There is one channel, and Init asks for nothing.");
const ONE_READ: Cell = Cell::Not("A driver has no response of more than 4096 bytes.");
const NO_SHELL: Cell = because(recovers(&["MEMORY"]), "There is no memory to start the command again either.");
