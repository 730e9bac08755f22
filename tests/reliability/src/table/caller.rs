// SPDX-License-Identifier: BSD-2-Clause
//! What the caller does, and what its process lacks.

use super::cells::{ANSWERS, IO, IO_WHEN_BACK, NONE_HERE, NOT_OPENED, SEQUENCE};
use super::{Table, row};
use crate::fault::Fault;
use crate::forking::Forking;
use crate::misuse::Misuse;
use crate::module::Module::{self, Cmd, Device, Libtpms, Loader, Mssim, Pcap, Stick, Swtpm, SwtpmKept, SwtpmUnix};
use crate::outcome::{Cell, because, goes_on, new_context, until_then, when_back};
use crate::process::Process;

pub(super) const PROCESS: Table = Table {
    title: "The process of the caller",
    text: "With real TPMs: swtpm (also behind cmd, pcap and tctildr), libtpms with a state file, the simulator of `tests/sim/mssim/`, \
           the kernel's resource manager, the simulated stick. Thousands of contexts are 10,000, with cmd 1,000, which has \
           cat(1) behind it then, with spi-ltt2go 100, after a tenth of that which does not count.",
    columns: ALL,
    rows: &[
        row("1,000 signals interrupt its system calls", Fault::Process(Process::Interrupts), ANSWERS),
        row(
            "It may open no more descriptors when a context is opened",
            Fault::Process(Process::DescriptorsAtInit),
            NOT_OPENED,
        )
        .except(&[Pcap, Loader], NOT_LOADED),
        row("It may open no more descriptors in a command", Fault::Process(Process::Descriptors), ANSWERS)
            .except(&[SwtpmUnix, Pcap, Loader], IO_WHEN_BACK),
        row("malloc(3) gives nothing when a context is opened", Fault::Process(Process::MemoryAtInit), NO_MEMORY)
            .except(&[Libtpms, Cmd, Stick], NOT_OPENED)
            .except(&[Pcap, Loader], NO_MEMORY_TO_LOAD),
        row("malloc(3) gives nothing in a command", Fault::Process(Process::Memory), ANSWERS)
            .except(&[Libtpms], TPM_ALLOCATES)
            .except(&[Stick], BUS_ALLOCATES),
        row("malloc(3) gives nothing from transmit on", Fault::Process(Process::MemoryInReceive), ANSWERS)
            .except(&[Libtpms], TPM_HAS_ANSWERED)
            .except(&[Stick], BUS_ALLOCATES),
        row(
            "malloc(3) gives nothing when it receives without a command, which is the first error that is logged",
            Fault::Process(Process::MemoryInError),
            SEQUENCE,
        )
        .except(&[Libtpms], TPM_NOT_ASKED)
        .except(&[Stick], BUS_NOT_ASKED),
        row("malloc(3) gives nothing when it sets locality 0", Fault::Process(Process::MemoryInLocality), ANSWERS)
            .except(&[Libtpms], TPM_HAS_ANSWERED)
            .except(&[Cmd, Device], NONE_HERE)
            .except(&[Stick], NONE_WITHOUT_BUS),
        row("malloc(3) gives nothing in Finalize", Fault::Process(Process::MemoryInFinalize), ANSWERS),
        row("The clock of the system is set to and fro during 200 commands", Fault::Process(Process::Clock), ANSWERS),
        row(
            "It opens and finalizes thousands of contexts, and keeps neither a byte nor a descriptor of them",
            Fault::Process(Process::Contexts),
            ANSWERS,
        ),
        row(
            "stdin, stdout or stderr are closed, and everything is logged",
            Fault::Process(Process::ClosedStreams),
            ANSWERS,
        ),
        row("It closes the library, and uses the context", Fault::Process(Process::Dlclose), ANSWERS),
        row("It ends without Finalize; the next program", Fault::Process(Process::Leaves), ANSWERS),
        row("It is killed while a response is due; the next program", Fault::Process(Process::Killed), ANSWERS),
    ],
};

pub(super) const REFUSED: Table = Table {
    title: "The caller makes a call that is refused",
    text: "A response that is due is received afterwards. Locality 0 is set for comparison.",
    columns: ALL,
    rows: &[
        row("It receives without a command", Fault::Misuse(Misuse::ReceivesNothing), SEQUENCE),
        row("It sends a command while a response is due", Fault::Misuse(Misuse::TransmitsTwice), SEQUENCE),
        row("It sets the locality while a response is due", Fault::Misuse(Misuse::LocalityBetween), SEQUENCE)
            .except(NO_LOCALITY, NONE_HERE),
        row("It sets locality 5, which is reserved", Fault::Misuse(Misuse::ReservedLocality), RESERVED)
            .except(NO_LOCALITY, NONE_HERE),
        row("It sets locality 0", Fault::Misuse(Misuse::Locality), ANSWERS).except(NO_LOCALITY, NONE_HERE),
    ],
};

pub(super) const FORKS: Table = Table {
    title: "The caller forks",
    text: "Both processes go on with the context, each with the answers to its own commands. Those of swtpm with keep=true, \
           mssim, cmd and device share a connection, and a command waits until the exchange of the other process is over; \
           with the other modules each process has its own. What is loaded stays: `c-tests/forks.c`.",
    columns: ALL,
    rows: &[
        row("The child asks for the response that the parent awaits", Fault::Forking(Forking::Receives), SEQUENCE),
        row(
            "The child sends a command while the parent awaits a response, which that collects then",
            Fault::Forking(Forking::Commands),
            ANSWERS,
        )
        .except(&[Stick], NOT_SHARED),
        row("The child finalizes while the parent awaits a response", Fault::Forking(Forking::Finalizes), ANSWERS),
        row("The child sends a command between two of the parent", Fault::Forking(Forking::CommandsBetween), ANSWERS)
            .except(&[Stick], NOT_SHARED),
        row(
            "The child sends a command and finalizes; the parent's next command",
            Fault::Forking(Forking::CommandsAndFinalizes),
            ANSWERS,
        ),
        row(
            "The child is killed while it awaits a response; the parent's next command",
            Fault::Forking(Forking::Killed),
            ANSWERS,
        ),
        row("The parent finalizes; the child's next command", Fault::Forking(Forking::ParentFinalizes), ANSWERS)
            .except(&[Stick], OPENS_IT),
        row("The parent ends without Finalize; the child's next command", Fault::Forking(Forking::ParentEnds), ANSWERS)
            .except(&[Stick], NOT_SHARED),
        row(
            "The parent is killed while it awaits a response; the child's next command",
            Fault::Forking(Forking::ParentKilled),
            ANSWERS,
        )
        .except(&[Stick], NOT_SHARED),
    ],
};

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
const ALL: &[Module] = &[Libtpms, Swtpm, SwtpmUnix, SwtpmKept, Mssim, Cmd, Pcap, Loader, Device, Stick];
/// The modules without SetLocality.
const NO_LOCALITY: &[Module] = &[Cmd, Device, Stick];
const RESERVED: Cell = goes_on(&["BAD_VALUE"]);
const LIBTPMS_ALLOCATES: &str =
    "libtpms allocates memory in each command. Without it a command fails, also with `MEMORY`.";
const TPM_ALLOCATES: Cell = until_then(when_back(&["IO_ERROR"]), &["MEMORY"], LIBTPMS_ALLOCATES);
const TPM_HAS_ANSWERED: Cell = until_then(when_back(&["SUCCESS"]), &["IO_ERROR"], LIBTPMS_ALLOCATES);
const TPM_NOT_ASKED: Cell = until_then(when_back(&["BAD_SEQUENCE"]), &["IO_ERROR", "MEMORY"], LIBTPMS_ALLOCATES);
const LIBUSB_ALLOCATES: &str = "libusb allocates memory for each transfer. Without it a command fails.";
const BUS_ALLOCATES: Cell = because(when_back(&["IO_ERROR"]), LIBUSB_ALLOCATES);
const BUS_NOT_ASKED: Cell = because(when_back(&["BAD_SEQUENCE"]), LIBUSB_ALLOCATES);
const NONE_WITHOUT_BUS: Cell = because(when_back(&["NOT_IMPLEMENTED"]), LIBUSB_ALLOCATES);
