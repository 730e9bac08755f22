// SPDX-License-Identifier: BSD-2-Clause
//! What is promised, by module and fault.

use super::answers::Answer;
use super::death::Death;
use super::fault::Fault;
use super::files::Files;
use super::forking::Forking;
use super::module::Module;
use super::outcome::{Cell, goes_on, new_context, when_back};
use super::process::Process;
use super::usb::Usb;

/// Faults of one kind.
pub struct Table {
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    pub(super) columns: &'static [Module],
    pub(super) rows: &'static [Row],
}

/// A fault, and its cell in each column.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) fault: Fault,
    pub(super) cells: &'static [Cell],
}

impl Row {
    /// Its part of the name of a test.
    pub(super) fn slug(&self) -> String {
        let words = self.what.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
    }
}

const fn row(what: &'static str, fault: Fault, cells: &'static [Cell]) -> Row {
    Row { what, fault, cells }
}

const ANSWERS: Cell = goes_on(&["SUCCESS"]);
const AGAIN: Cell = goes_on(&["TRY_AGAIN"]);
const MALFORMED: Cell = goes_on(&["MALFORMED_RESPONSE"]);
const IO: Cell = goes_on(&["IO_ERROR"]);
const IO_WHEN_BACK: Cell = when_back(&["IO_ERROR"]);
const GONE: Cell = when_back(&["NO_CONNECTION"]);
const TERMINAL_GONE: Cell = when_back(&["IO_ERROR", "MALFORMED_RESPONSE", "NO_CONNECTION"]);
const NOT_LOADED: Cell = new_context(&["NOT_SUPPORTED"]);
const NO_MEMORY: Cell = goes_on(&["MEMORY"]);
const SEQUENCE: Cell = goes_on(&["BAD_SEQUENCE"]);
const NOT_OPENED: Cell = new_context(&["IO_ERROR"]);
const BUSY: Cell = goes_on(&["TRY_AGAIN"]);

/// All tables.
pub const TABLES: &[Table] = &[
    Table {
        title: "Answers that are none",
        text: "The peer is a scripted one. That of device is a pseudo-terminal, for the kernel's driver sends no such \
               things; that of cmd is a command which hands on what it gets. pcap and tctildr have swtpm behind them.",
        columns: &[
            Module::Swtpm,
            Module::SwtpmKept,
            Module::Mssim,
            Module::Cmd,
            Module::Terminal,
            Module::Pcap,
            Module::Loader,
        ],
        rows: &[
            row("It comes byte by byte", Fault::Answer(Answer::Pieces), &[ANSWERS; 7]),
            row("Its header says 0 to 9 bytes", Fault::Answer(Answer::SizeBelowHeader), &[MALFORMED; 7]),
            row(
                "Its header says more than comes, and the connection ends",
                Fault::Answer(Answer::SizeTooLarge),
                &[IO, IO, goes_on(&["IO_ERROR", "MALFORMED_RESPONSE"]), IO, TERMINAL_GONE, IO, IO],
            ),
            row("Its header says 1 MiB and a byte, or 4 GiB", Fault::Answer(Answer::SizeAboveLimit), &[MALFORMED; 7]),
            row("There is something behind it", Fault::Answer(Answer::Trailing), &[MALFORMED; 7]),
            row(
                "The connection ends at any of its bytes",
                Fault::Answer(Answer::End),
                &[IO, IO, IO, IO, TERMINAL_GONE, IO, IO],
            ),
            row("Some of it comes, and the rest after the time-out", Fault::Answer(Answer::Late), &[AGAIN; 7]),
            row(
                "It comes after the time-out, and the clock of the system is set to and fro meanwhile",
                Fault::Answer(Answer::LateByAnotherClock),
                &[AGAIN; 7],
            ),
            row(
                "It is larger than the buffer of the caller, who tries again with a larger one",
                Fault::Answer(Answer::LargerThanBuffer),
                &[goes_on(&["INSUFFICIENT_BUFFER"]); 7],
            ),
            row(
                "It has 1 MiB, the most that is taken",
                Fault::Answer(Answer::Largest),
                &[ANSWERS, ANSWERS, ANSWERS, ANSWERS, ONE_READ, ANSWERS, ANSWERS],
            ),
            row(
                "It has 1 MiB, and the process is at its limit of memory",
                Fault::Answer(Answer::LargestWithoutMemory),
                &[NO_MEMORY, NO_MEMORY, NO_MEMORY, when_back(&["MEMORY"]), ONE_READ, NO_MEMORY, NO_MEMORY],
            ),
            row("It is none of a TPM 2.0", Fault::Answer(Answer::NoTpm), &[MALFORMED; 7]),
            row(
                "Something comes that nobody asked for, before a command",
                Fault::Answer(Answer::Unasked),
                &[NO_LINE, ANSWERS, ANSWERS, UNASKED_OF_CMD, MESSAGES, NO_LINE, NO_LINE],
            ),
        ],
    },
    Table {
        title: "The TPM goes away",
        text: "swtpm and mssim are killed and started again; so is the command of cmd, by the module itself. The driver of \
               /dev/tpmrm0 is taken from its device and given back to it; the stick is pulled out and plugged in. pcap and \
               tctildr have swtpm behind them.",
        columns: AWAY,
        rows: &[
            row(
                "Between two commands",
                Fault::Death(Death::Idle),
                &[IO_WHEN_BACK, IO_WHEN_BACK, IO_WHEN_BACK, ANSWERS, IO_WHEN_BACK, IO_WHEN_BACK, IO_WHEN_BACK, GONE],
            ),
            row(
                "Between two commands, and is back by then",
                Fault::Death(Death::IdleAndBack),
                &[ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, IO, goes_on(&["NO_CONNECTION"])],
            ),
            row(
                "Between transmit and receive",
                Fault::Death(Death::Sent),
                &[IO_WHEN_BACK, IO_WHEN_BACK, IO_WHEN_BACK, IO, IO_WHEN_BACK, IO_WHEN_BACK, WAITS, GONE],
            ),
            row(
                "While receive waits",
                Fault::Death(Death::Awaited),
                &[IO_WHEN_BACK, IO_WHEN_BACK, IO_WHEN_BACK, IO, IO_WHEN_BACK, IO_WHEN_BACK, WAITS, GONE],
            ),
            row(
                "After receive has told the size",
                Fault::Death(Death::Sized),
                &[
                    when_back(&["SUCCESS"]),
                    when_back(&["SUCCESS"]),
                    when_back(&["SUCCESS"]),
                    ANSWERS,
                    when_back(&["SUCCESS"]),
                    when_back(&["SUCCESS"]),
                    when_back(&["SUCCESS"]),
                    when_back(&["SUCCESS"]),
                ],
            ),
        ],
    },
    Table {
        title: "The process of the caller",
        text: "With real TPMs: swtpm (also behind cmd, pcap and tctildr), libtpms with a state file, the simulator of `src/sim/mssim/`, \
               the kernel's resource manager, the simulated stick.",
        columns: ALL,
        rows: &[
            row("1,000 signals interrupt its system calls", Fault::Process(Process::Interrupts), &[ANSWERS; 9]),
            row(
                "It may open no more descriptors when a context is opened",
                Fault::Process(Process::DescriptorsAtInit),
                &[
                    NOT_OPENED, NOT_OPENED, NOT_OPENED, NOT_OPENED, NOT_OPENED, NOT_LOADED, NOT_LOADED, NOT_OPENED,
                    NOT_OPENED,
                ],
            ),
            row(
                "It may open no more descriptors in a command",
                Fault::Process(Process::Descriptors),
                &[IO_WHEN_BACK, ANSWERS, ANSWERS, ANSWERS, ANSWERS, IO_WHEN_BACK, IO_WHEN_BACK, ANSWERS, ANSWERS],
            ),
            row(
                "stdin, stdout or stderr are closed, and everything is logged",
                Fault::Process(Process::ClosedStreams),
                &[ANSWERS; 9],
            ),
            row("It closes the library, and uses the context", Fault::Process(Process::Dlclose), &[ANSWERS; 9]),
            row("It ends without Finalize; the next program", Fault::Process(Process::Leaves), &[ANSWERS; 9]),
            row(
                "It is killed while a response is due; the next program",
                Fault::Process(Process::Killed),
                &[ANSWERS; 9],
            ),
        ],
    },
    Table {
        title: "The caller forks",
        text: "The child uses the context that it inherited. In each cell the parent gets the answer to its own command \
               afterwards.",
        columns: ALL,
        rows: &[
            row(
                "The child asks for the response that the parent awaits",
                Fault::Forking(Forking::Receives),
                &[SEQUENCE; 9],
            ),
            row(
                "The child sends a command while the parent awaits a response",
                Fault::Forking(Forking::Commands),
                &[ANSWERS, BUSY, BUSY, IO, ANSWERS, BUSY, BUSY, ANSWERS, IO],
            ),
            row(
                "The child finalizes while the parent awaits a response",
                Fault::Forking(Forking::Finalizes),
                &[ANSWERS; 9],
            ),
            row(
                "The child sends a command between two of the parent",
                Fault::Forking(Forking::CommandsBetween),
                &[ANSWERS, ANSWERS, BUSY, IO, ANSWERS, ANSWERS, ANSWERS, ANSWERS, IO],
            ),
        ],
    },
    Table {
        title: "Files",
        text: "The state file of libtpms, the capture of pcap. A capture that cannot be written ends, with a warning; the TPM \
               goes on.",
        columns: &[Module::Libtpms, Module::Pcap],
        rows: &[
            row("The disk is full", Fault::Files(Files::Full), &[IO_WHEN_BACK, ANSWERS]),
            row(
                "The disk is full when a context is opened",
                Fault::Files(Files::FullAtInit),
                &[NOT_OPENED, NOT_OPENED],
            ),
            row(
                "The process may write no larger file (RLIMIT_FSIZE)",
                Fault::Files(Files::Limit),
                &[IO_WHEN_BACK, ANSWERS],
            ),
            row("The file system becomes read-only", Fault::Files(Files::ReadOnly), &[IO_WHEN_BACK, ANSWERS]),
            row(
                "The file system is read-only when a context is opened",
                Fault::Files(Files::ReadOnlyAtInit),
                &[NOT_OPENED, NOT_OPENED],
            ),
            row("The file is damaged", Fault::Files(Files::Damaged), &[IO_WHEN_BACK, ONLY_WRITTEN]),
            row(
                "The file is damaged when a context is opened",
                Fault::Files(Files::DamagedAtInit),
                &[NOT_OPENED, ONLY_WRITTEN],
            ),
            row("The file is removed", Fault::Files(Files::Removed), &[ANSWERS, ANSWERS]),
        ],
    },
    Table {
        title: "The USB and what is behind it",
        text: "The simulated LetsTrust-TPM2Go of `src/sim/tpm2go/`, behind the kernel's USB stack.",
        columns: &[Module::Stick],
        rows: &[
            row(
                "A transfer stalls, or an endpoint halts",
                Fault::Usb(Usb::Transfer(&[
                    "stall_control=3",
                    "stall_out=3",
                    "halt_out=3",
                    "stall_in=3",
                    "halt_in=3",
                    "stall_control=0+",
                    "halt_in=0+",
                ])),
                &[IO_WHEN_BACK],
            ),
            row(
                "A transfer is not answered",
                Fault::Usb(Usb::Transfer(&["nak_control=3", "nak_out=3", "nak_in=3"])),
                &[IO],
            ),
            row(
                "A transfer has too few or too many bytes",
                Fault::Usb(Usb::Transfer(&["short_in=3", "long_in=3", "empty_in=3+"])),
                &[IO_WHEN_BACK],
            ),
            row(
                "The TPM sends garbage, or nothing any more",
                Fault::Usb(Usb::Tpm(&["garbage_in=0+", "dead_after=0"])),
                &[IO_WHEN_BACK],
            ),
            row(
                "The TPM does not get ready, and another one is plugged in",
                Fault::Usb(Usb::NeverReady),
                &[IO_WHEN_BACK],
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
                &[NOT_OPENED],
            ),
            row("It is pulled out in the middle of a command, at any transfer", Fault::Usb(Usb::Unplugged), &[GONE]),
            row(
                "The answer comes after the time-out, and the clock of the system is set to and fro meanwhile",
                Fault::Usb(Usb::LateByAnotherClock),
                &[AGAIN],
            ),
        ],
    },
];

const AWAY: &[Module] = &[
    Module::Swtpm,
    Module::SwtpmKept,
    Module::Mssim,
    Module::Cmd,
    Module::Pcap,
    Module::Loader,
    Module::Device,
    Module::Stick,
];

const ALL: &[Module] = &[
    Module::Libtpms,
    Module::Swtpm,
    Module::SwtpmKept,
    Module::Mssim,
    Module::Cmd,
    Module::Pcap,
    Module::Loader,
    Module::Device,
    Module::Stick,
];

const NO_LINE: Cell = Cell::Not("There is no connection between two commands.");
const MESSAGES: Cell = Cell::Not("A driver sends what was asked for.");
const UNASKED_OF_CMD: Cell = Cell::Unit("tcti-cmd/src/cmd/tests.rs", "what_is_printed_unasked_never_meets_a_command");
const ONE_READ: Cell = Cell::Not("A driver has no response of more than 4096 bytes.");
const WAITS: Cell = Cell::Not("The driver finishes the command before it goes.");
const ONLY_WRITTEN: Cell = Cell::Not("The file is written, not read.");
