// SPDX-License-Identifier: BSD-2-Clause
//! What the caller does, and what its process lacks.

use super::cells::{ANSWERS, IO, IO_WHEN_BACK, NONE_HERE, NOT_OPENED, SEQUENCE};
use super::{Table, row};
use crate::fault::Fault;
use crate::forking::Forking;
use crate::misuse::Misuse;
use crate::module::Module;
use crate::outcome::{Cell, because, goes_on, new_context, until_then, when_back};
use crate::process::Process;

pub(super) const PROCESS: Table = Table {
    title: "The process of the caller",
    text: "With real TPMs: swtpm (also behind cmd, pcap and tctildr), libtpms with a state file, the simulator of `tests/sim/mssim/`, \
           the kernel's resource manager, the simulated stick. Thousands of contexts are 10,000, with cmd 1,000, which has \
           cat(1) behind it then, with spi-ltt2go 100, after a tenth of that which does not count.",
    columns: ALL,
    rows: &[
        row("1,000 signals interrupt its system calls", Fault::Process(Process::Interrupts), &[ANSWERS; 10]),
        row(
            "It may open no more descriptors when a context is opened",
            Fault::Process(Process::DescriptorsAtInit),
            &[
                NOT_OPENED, NOT_OPENED, NOT_OPENED, NOT_OPENED, NOT_OPENED, NOT_OPENED, NOT_LOADED, NOT_LOADED,
                NOT_OPENED, NOT_OPENED,
            ],
        ),
        row(
            "It may open no more descriptors in a command",
            Fault::Process(Process::Descriptors),
            &[ANSWERS, ANSWERS, IO_WHEN_BACK, ANSWERS, ANSWERS, ANSWERS, IO_WHEN_BACK, IO_WHEN_BACK, ANSWERS, ANSWERS],
        ),
        row(
            "malloc(3) gives nothing when a context is opened",
            Fault::Process(Process::MemoryAtInit),
            &[
                NOT_OPENED,
                NO_MEMORY,
                NO_MEMORY,
                NO_MEMORY,
                NO_MEMORY,
                NOT_OPENED,
                NO_MEMORY_TO_LOAD,
                NO_MEMORY_TO_LOAD,
                NO_MEMORY,
                NOT_OPENED,
            ],
        ),
        row("malloc(3) gives nothing in a command", Fault::Process(Process::Memory), IN_A_COMMAND),
        row("malloc(3) gives nothing from transmit on", Fault::Process(Process::MemoryInReceive), FROM_TRANSMIT_ON),
        row(
            "malloc(3) gives nothing when it receives without a command, which is the first error that is logged",
            Fault::Process(Process::MemoryInError),
            IN_AN_ERROR,
        ),
        row(
            "malloc(3) gives nothing when it sets locality 0",
            Fault::Process(Process::MemoryInLocality),
            IN_SETLOCALITY,
        ),
        row("malloc(3) gives nothing in Finalize", Fault::Process(Process::MemoryInFinalize), &[ANSWERS; 10]),
        row(
            "The clock of the system is set to and fro during 200 commands",
            Fault::Process(Process::Clock),
            &[ANSWERS; 10],
        ),
        row(
            "It opens and finalizes thousands of contexts, and keeps neither a byte nor a descriptor of them",
            Fault::Process(Process::Contexts),
            &[ANSWERS; 10],
        ),
        row(
            "stdin, stdout or stderr are closed, and everything is logged",
            Fault::Process(Process::ClosedStreams),
            &[ANSWERS; 10],
        ),
        row("It closes the library, and uses the context", Fault::Process(Process::Dlclose), &[ANSWERS; 10]),
        row("It ends without Finalize; the next program", Fault::Process(Process::Leaves), &[ANSWERS; 10]),
        row("It is killed while a response is due; the next program", Fault::Process(Process::Killed), &[ANSWERS; 10]),
    ],
};

pub(super) const REFUSED: Table = Table {
    title: "The caller makes a call that is refused",
    text: "A response that is due is received afterwards. Locality 0 is set for comparison.",
    columns: ALL,
    rows: &[
        row("It receives without a command", Fault::Misuse(Misuse::ReceivesNothing), &[SEQUENCE; 10]),
        row("It sends a command while a response is due", Fault::Misuse(Misuse::TransmitsTwice), &[SEQUENCE; 10]),
        row("It sets the locality while a response is due", Fault::Misuse(Misuse::LocalityBetween), LOCALITY_BETWEEN),
        row("It sets locality 5, which is reserved", Fault::Misuse(Misuse::ReservedLocality), RESERVED_LOCALITY),
        row("It sets locality 0", Fault::Misuse(Misuse::Locality), SETS_LOCALITY),
    ],
};

pub(super) const FORKS: Table = Table {
    title: "The caller forks",
    text: "Both processes go on with the context, each with the answers to its own commands. Those of swtpm with keep=true, \
           mssim, cmd and device share a connection, and a command waits until the exchange of the other process is over; \
           with the other modules each process has its own. What is loaded stays: `c-tests/forks.c`.",
    columns: ALL,
    rows: &[
        row(
            "The child asks for the response that the parent awaits",
            Fault::Forking(Forking::Receives),
            &[SEQUENCE; 10],
        ),
        row(
            "The child sends a command while the parent awaits a response, which that collects then",
            Fault::Forking(Forking::Commands),
            ALL_BUT_THE_STICK,
        ),
        row(
            "The child finalizes while the parent awaits a response",
            Fault::Forking(Forking::Finalizes),
            &[ANSWERS; 10],
        ),
        row(
            "The child sends a command between two of the parent",
            Fault::Forking(Forking::CommandsBetween),
            ALL_BUT_THE_STICK,
        ),
        row(
            "The child sends a command and finalizes; the parent's next command",
            Fault::Forking(Forking::CommandsAndFinalizes),
            &[ANSWERS; 10],
        ),
        row(
            "The child is killed while it awaits a response; the parent's next command",
            Fault::Forking(Forking::Killed),
            &[ANSWERS; 10],
        ),
        row(
            "The parent finalizes; the child's next command",
            Fault::Forking(Forking::ParentFinalizes),
            &[ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, OPENS_IT],
        ),
        row(
            "The parent ends without Finalize; the child's next command",
            Fault::Forking(Forking::ParentEnds),
            ALL_BUT_THE_STICK,
        ),
        row(
            "The parent is killed while it awaits a response; the child's next command",
            Fault::Forking(Forking::ParentKilled),
            ALL_BUT_THE_STICK,
        ),
    ],
};

/// In the order of `ALL`.
const ALL_BUT_THE_STICK: &[Cell] =
    &[ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, NOT_SHARED];
const NOT_SHARED: Cell = because(
    IO,
    "The stick is claimed by the process that opened it, until that finalizes or both have ended. The message in the log says to \
     open it after the fork.",
);
const OPENS_IT: Cell = because(ANSWERS, "The child opens the stick, which the parent has given back.");
const NOT_LOADED: Cell = because(
    new_context(&["IO_ERROR", "NOT_SUPPORTED"]),
    "`NOT_SUPPORTED` as long as the library of the TCTI behind it is not loaded.",
);
const NO_MEMORY_TO_LOAD: Cell = because(
    new_context(&["MEMORY", "NOT_SUPPORTED"]),
    "`NOT_SUPPORTED` as long as the library of the TCTI behind it is not loaded.",
);
const NO_MEMORY: Cell = new_context(&["MEMORY"]);
const ALL: &[Module] = &[
    Module::Libtpms,
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
/// SetLocality, in the order of `ALL`: only these modules have it.
const LOCALITY_BETWEEN: &[Cell] =
    &[SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, NONE_HERE, SEQUENCE, SEQUENCE, NONE_HERE, NONE_HERE];
const RESERVED_LOCALITY: &[Cell] =
    &[RESERVED, RESERVED, RESERVED, RESERVED, RESERVED, NONE_HERE, RESERVED, RESERVED, NONE_HERE, NONE_HERE];
const SETS_LOCALITY: &[Cell] =
    &[ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, NONE_HERE, ANSWERS, ANSWERS, NONE_HERE, NONE_HERE];
const RESERVED: Cell = goes_on(&["BAD_VALUE"]);
/// Without memory, in the order of `ALL`.
const IN_A_COMMAND: &[Cell] =
    &[TPM_ALLOCATES, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, BUS_ALLOCATES];
const FROM_TRANSMIT_ON: &[Cell] =
    &[TPM_HAS_ANSWERED, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, ANSWERS, BUS_ALLOCATES];
const IN_AN_ERROR: &[Cell] =
    &[TPM_NOT_ASKED, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, BUS_NOT_ASKED];
const IN_SETLOCALITY: &[Cell] =
    &[TPM_HAS_ANSWERED, ANSWERS, ANSWERS, ANSWERS, ANSWERS, NONE_HERE, ANSWERS, ANSWERS, NONE_HERE, NONE_WITHOUT_BUS];
const LIBTPMS_ALLOCATES: &str =
    "libtpms allocates memory in each command. Without it a command fails, also with `MEMORY`.";
const TPM_ALLOCATES: Cell = until_then(when_back(&["IO_ERROR"]), &["MEMORY"], LIBTPMS_ALLOCATES);
const TPM_HAS_ANSWERED: Cell = until_then(when_back(&["SUCCESS"]), &["IO_ERROR"], LIBTPMS_ALLOCATES);
const TPM_NOT_ASKED: Cell = until_then(when_back(&["BAD_SEQUENCE"]), &["IO_ERROR", "MEMORY"], LIBTPMS_ALLOCATES);
const LIBUSB_ALLOCATES: &str = "libusb allocates memory for each transfer. Without it a command fails.";
const BUS_ALLOCATES: Cell = because(when_back(&["IO_ERROR"]), LIBUSB_ALLOCATES);
const BUS_NOT_ASKED: Cell = because(when_back(&["BAD_SEQUENCE"]), LIBUSB_ALLOCATES);
const NONE_WITHOUT_BUS: Cell = because(when_back(&["NOT_IMPLEMENTED"]), LIBUSB_ALLOCATES);
