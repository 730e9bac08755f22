// SPDX-License-Identifier: BSD-2-Clause
//! Faults of the response.

use super::cells::{BAD_SEQUENCE, INIT_FAILS, IO_ERROR, SUCCESS, TRY_AGAIN};
use super::{Table, row};
use crate::answers::Answer;
use crate::fault::Fault;
use crate::module::Module::{Cmd, Loader, Mssim, Pcap, Swtpm, SwtpmKept, SwtpmUnix, Terminal};
use crate::outcome::{After, Cell, Codes, because, continues, ends, new_context, recovers};
use crate::reply::Code;

pub(super) const TABLE: Table = Table {
    title: "The response is malformed or late",
    text: "The peer follows a script. For device it is behind a pseudo-terminal, because the kernel's driver does not send \
           such responses; for cmd it is behind a command that relays all bytes. pcap and tctildr use swtpm. They, mssim \
           and swtpm with keep=true connect to a Unix socket.",
    columns: &[Swtpm, SwtpmUnix, SwtpmKept, Mssim, Cmd, Terminal, Pcap, Loader],
    rows: &[
        row("The response arrives byte by byte", Fault::Answer(Answer::Pieces), SUCCESS),
        row("The header states a size of 0 to 9 bytes", Fault::Answer(Answer::SizeBelowHeader), MALFORMED_RESPONSE),
        row(
            "The header states a larger size than arrives, and the connection ends",
            Fault::Answer(Answer::SizeTooLarge),
            IO_ERROR,
        )
        .except(&[Mssim], continues(&[Code::IoError, Code::MalformedResponse]))
        .except(&[Terminal], TERMINAL_CLOSED),
        row(
            "The header states a size of 1 MiB and a byte, or of 4 GiB",
            Fault::Answer(Answer::SizeAboveLimit),
            MALFORMED_RESPONSE,
        ),
        row("More bytes follow the response", Fault::Answer(Answer::Trailing), MALFORMED_RESPONSE),
        row("The connection ends at any byte of the response", Fault::Answer(Answer::End), IO_ERROR)
            .except(&[Terminal], TERMINAL_CLOSED),
        row("The response, or the rest of it, arrives after the time-out", Fault::Answer(Answer::Late), TRY_AGAIN),
        row(
            "At most 9 bytes of the response arrive, and the caller finalizes",
            Fault::Answer(Answer::Silence),
            new_context(&[Code::TryAgain]),
        ),
        row(
            "The response arrives byte by byte, and 1,000 signals interrupt the receive call",
            Fault::Answer(Answer::Interrupted),
            SUCCESS,
        ),
        row(
            "The response arrives after the time-out, while the system clock is set back and forth",
            Fault::Answer(Answer::LateByAnotherClock),
            TRY_AGAIN,
        ),
        row(
            "The response is larger than the caller's buffer, and the caller retries with a larger one",
            Fault::Answer(Answer::LargerThanBuffer),
            continues(&[Code::InsufficientBuffer]),
        ),
        row("The response has 1 MiB, the maximum", Fault::Answer(Answer::Largest), SUCCESS)
            .except(&[Terminal], ONE_PAGE),
        row("The response has 1 MiB, and malloc(3) fails", Fault::Answer(Answer::LargestWithoutMemory), MEMORY)
            .except(&[Cmd], NO_MEMORY_TO_RESTART)
            .except(&[Terminal], ONE_PAGE),
        row("The response is not one of a TPM 2.0", Fault::Answer(Answer::NoTpm), MALFORMED_RESPONSE),
        row(
            "The response is not one of a TPM 2.0, and the caller receives again",
            Fault::Answer(Answer::NoTpmAgain),
            BAD_SEQUENCE,
        ),
        row("Unsolicited bytes arrive before a command", Fault::Answer(Answer::Unasked), NOT_CONNECTED)
            .except(&[SwtpmKept, Mssim], SUCCESS)
            .except(&[Cmd], UNIT_TEST_OF_CMD)
            .except(&[Terminal], ONLY_RESPONSES),
        row(
            "The control channel ends at any byte of its replies during Init",
            Fault::Answer(Answer::ControlEnds),
            INIT_FAILS,
        )
        .except(&[Cmd, Terminal], ONE_CHANNEL),
    ],
};

const MALFORMED_RESPONSE: Cell = continues(&[Code::MalformedResponse]);
const TERMINAL_CLOSED: Cell =
    ends(Codes::Any(&[Code::IoError, Code::MalformedResponse, Code::NoConnection]), After::Recovers);
const MEMORY: Cell = continues(&[Code::Memory]);
const NO_MEMORY_TO_RESTART: Cell =
    because(recovers(&[Code::Memory]), "There is also no memory to start the command again.");
const NOT_CONNECTED: Cell = Cell::Not("There is no connection between two commands.");
const ONLY_RESPONSES: Cell = Cell::Not("A driver returns nothing but responses.");
const UNIT_TEST_OF_CMD: Cell = Cell::Unit("cmd/tests.rs", "unsolicited_output_is_never_taken_for_a_response");
const ONE_CHANNEL: Cell = Cell::Not("There is no control channel, and Init sends no request.");
const ONE_PAGE: Cell = Cell::Not("A driver returns at most 4096 bytes.");
