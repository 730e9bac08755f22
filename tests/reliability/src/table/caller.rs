// SPDX-License-Identifier: BSD-2-Clause
//! What the caller does, and what its process lacks.

use super::cells::{BAD_SEQUENCE, INIT_FAILS, IO_ERROR, IO_ERROR_RECOVERS, NOT_IMPLEMENTED, SUCCESS};
use super::{Table, row};
use crate::fault::Fault;
use crate::forking::Forking;
use crate::misuse::Misuse;
use crate::module::Module::{self, Cmd, Device, Libtpms, Loader, Mssim, Pcap, Stick, Swtpm, SwtpmKept, SwtpmUnix};
use crate::outcome::{Cell, because, continues, meanwhile, new_context, recovers};
use crate::process::Process;
use crate::program::Resource;

pub(super) const PROCESS: Table = Table {
    title: "The process of the caller",
    text: "With real TPMs: swtpm (also behind cmd, pcap and tctildr), libtpms with a state file, the simulator of `tests/sim/mssim/`, \
           the kernel's resource manager, the simulated stick. Thousands of contexts are 10,000, with cmd 1,000, which has \
           cat(1) behind it then, with spi-ltt2go 100, after a tenth of that which does not count.",
    columns: ALL,
    rows: &[
        row("1,000 signals interrupt its system calls", Fault::Process(Process::Interrupts), SUCCESS),
        row(
            "It may open no more descriptors when a context is opened",
            Fault::Process(Process::ExhaustedInInit(Resource::Descriptors)),
            INIT_FAILS,
        )
        .except(&[Pcap, Loader], NOT_LOADED),
        row(
            "It may open no more descriptors in a command",
            Fault::Process(Process::ExhaustedInCommand(Resource::Descriptors)),
            SUCCESS,
        )
        .except(&[SwtpmUnix, Pcap, Loader], IO_ERROR_RECOVERS),
        row(
            "malloc(3) gives nothing when a context is opened",
            Fault::Process(Process::ExhaustedInInit(Resource::Memory)),
            NO_MEMORY,
        )
        .except(&[Libtpms, Cmd, Stick], INIT_FAILS)
        .except(&[Pcap, Loader], NO_MEMORY_TO_LOAD),
        row(
            "malloc(3) gives nothing in a command",
            Fault::Process(Process::ExhaustedInCommand(Resource::Memory)),
            SUCCESS,
        )
        .except(&[Libtpms], TPM_ALLOCATES)
        .except(&[Stick], BUS_ALLOCATES),
        row("malloc(3) gives nothing from transmit on", Fault::Process(Process::MemoryInReceive), SUCCESS)
            .except(&[Libtpms], TPM_HAS_ANSWERED)
            .except(&[Stick], BUS_ALLOCATES),
        row(
            "malloc(3) gives nothing when it receives without a command, which is the first error that is logged",
            Fault::Process(Process::MemoryInError),
            BAD_SEQUENCE,
        )
        .except(&[Libtpms], TPM_NOT_ASKED)
        .except(&[Stick], BUS_NOT_ASKED),
        row("malloc(3) gives nothing when it sets locality 0", Fault::Process(Process::MemoryInLocality), SUCCESS)
            .except(&[Libtpms], TPM_HAS_ANSWERED)
            .except(&[Cmd, Device], NOT_IMPLEMENTED)
            .except(&[Stick], NONE_WITHOUT_BUS),
        row("malloc(3) gives nothing in Finalize", Fault::Process(Process::MemoryInFinalize), SUCCESS),
        row("The clock of the system is set to and fro during 200 commands", Fault::Process(Process::Clock), SUCCESS),
        row(
            "It opens and finalizes thousands of contexts, and keeps neither a byte nor a descriptor of them",
            Fault::Process(Process::Contexts),
            SUCCESS,
        ),
        row(
            "stdin, stdout or stderr are closed, and everything is logged",
            Fault::Process(Process::ClosedStreams),
            SUCCESS,
        ),
        row("It closes the library, and uses the context", Fault::Process(Process::Dlclose), SUCCESS),
        row("It ends without Finalize; the next program", Fault::Process(Process::Leaves), SUCCESS),
        row("It is killed while a response is due; the next program", Fault::Process(Process::Killed), SUCCESS),
    ],
};

pub(super) const REFUSED: Table = Table {
    title: "The caller makes a call that is refused",
    text: "A response that is due is received afterwards. Locality 0 is set for comparison.",
    columns: ALL,
    rows: &[
        row("It receives without a command", Fault::Misuse(Misuse::ReceiveFirst), BAD_SEQUENCE),
        row("It sends a command while a response is due", Fault::Misuse(Misuse::TransmitTwice), BAD_SEQUENCE),
        row("It sets the locality while a response is due", Fault::Misuse(Misuse::LocalityBetween), BAD_SEQUENCE)
            .except(NO_LOCALITY, NOT_IMPLEMENTED),
        row("It sets locality 5, which is reserved", Fault::Misuse(Misuse::ReservedLocality), RESERVED)
            .except(NO_LOCALITY, NOT_IMPLEMENTED),
        row("It sets locality 0", Fault::Misuse(Misuse::Locality), SUCCESS).except(NO_LOCALITY, NOT_IMPLEMENTED),
    ],
};

pub(super) const FORKS: Table = Table {
    title: "The caller forks",
    text: "Both processes go on with the context, each with the answers to its own commands. Those of swtpm with keep=true, \
           mssim, cmd and device share a connection, and a command waits until the exchange of the other process is over; \
           with the other modules each process has its own. What is loaded stays: `c-tests/forks.c`.",
    columns: ALL,
    rows: &[
        row("The child asks for the response that the parent awaits", Fault::Forking(Forking::Receives), BAD_SEQUENCE),
        row(
            "The child sends a command while the parent awaits a response, which that collects then",
            Fault::Forking(Forking::Commands),
            SUCCESS,
        )
        .except(&[Stick], NOT_SHARED),
        row("The child finalizes while the parent awaits a response", Fault::Forking(Forking::Finalizes), SUCCESS),
        row("The child sends a command between two of the parent", Fault::Forking(Forking::CommandsBetween), SUCCESS)
            .except(&[Stick], NOT_SHARED),
        row(
            "The child sends a command and finalizes; the parent's next command",
            Fault::Forking(Forking::CommandsAndFinalizes),
            SUCCESS,
        ),
        row(
            "The child is killed while it awaits a response; the parent's next command",
            Fault::Forking(Forking::Killed),
            SUCCESS,
        ),
        row("The parent finalizes; the child's next command", Fault::Forking(Forking::ParentFinalizes), SUCCESS)
            .except(&[Stick], OPENS_IT),
        row("The parent ends without Finalize; the child's next command", Fault::Forking(Forking::ParentEnds), SUCCESS)
            .except(&[Stick], NOT_SHARED),
        row(
            "The parent is killed while it awaits a response; the child's next command",
            Fault::Forking(Forking::ParentKilled),
            SUCCESS,
        )
        .except(&[Stick], NOT_SHARED),
    ],
};

const NOT_SHARED: Cell = because(
    IO_ERROR,
    "The stick is claimed by the process that opened it, until that finalizes or both have ended. The message in the log says to \
     open it after the fork.",
);
const OPENS_IT: Cell = because(SUCCESS, "The child opens the stick, which the parent has given back.");
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
const RESERVED: Cell = continues(&["BAD_VALUE"]);
const LIBTPMS_ALLOCATES: &str =
    "libtpms allocates memory in each command. Without it a command fails, also with `MEMORY`.";
const TPM_ALLOCATES: Cell = meanwhile(recovers(&["IO_ERROR"]), &["MEMORY"], LIBTPMS_ALLOCATES);
const TPM_HAS_ANSWERED: Cell = meanwhile(recovers(&["SUCCESS"]), &["IO_ERROR"], LIBTPMS_ALLOCATES);
const TPM_NOT_ASKED: Cell = meanwhile(recovers(&["BAD_SEQUENCE"]), &["IO_ERROR", "MEMORY"], LIBTPMS_ALLOCATES);
const LIBUSB_ALLOCATES: &str = "libusb allocates memory for each transfer. Without it a command fails.";
const BUS_ALLOCATES: Cell = because(recovers(&["IO_ERROR"]), LIBUSB_ALLOCATES);
const BUS_NOT_ASKED: Cell = because(recovers(&["BAD_SEQUENCE"]), LIBUSB_ALLOCATES);
const NONE_WITHOUT_BUS: Cell = because(recovers(&["NOT_IMPLEMENTED"]), LIBUSB_ALLOCATES);
