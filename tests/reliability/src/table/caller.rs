// SPDX-License-Identifier: BSD-2-Clause
//! Faults of the caller and of its process.

use super::cells::{BAD_SEQUENCE, INIT_FAILS, IO_ERROR, IO_ERROR_RECOVERS, NOT_IMPLEMENTED, SUCCESS, SUCCESS_RECOVERS};
use super::{Table, row};
use crate::fault::Fault;
use crate::forking::Forking;
use crate::misuse::Misuse;
use crate::module::Module::{self, Cmd, Device, Libtpms, Loader, Mssim, Pcap, Stick, Swtpm, SwtpmKept, SwtpmUnix};
use crate::outcome::{Cell, because, continues, meanwhile, new_context, recovers};
use crate::process::Process;
use crate::program::Resource;
use crate::reply::Code;

const ALL: &[Module] = &[Libtpms, Swtpm, SwtpmUnix, SwtpmKept, Mssim, Cmd, Pcap, Loader, Device, Stick];

pub(super) const PROCESS: Table = Table {
    title: "The process of the caller",
    text: "The TPMs are real: swtpm (also behind cmd, pcap and tctildr), libtpms with a state file, the simulator of \
           `tests/sim/mssim/`, the kernel's resource manager, and the simulated stick. Thousands of contexts are 10,000; \
           1,000 for cmd, whose command is cat(1) here; 100 for spi-ltt2go. A tenth as many are initialized and finalized \
           before memory and descriptors are counted.",
    columns: ALL,
    rows: &[
        row("1,000 signals interrupt its system calls", Fault::Process(Process::Interrupts), SUCCESS),
        row(
            "No file descriptor is available during Init",
            Fault::Process(Process::ExhaustedInInit(Resource::Descriptors)),
            INIT_FAILS,
        )
        .except(&[Pcap, Loader], NOT_LOADED),
        row(
            "No file descriptor is available during a command",
            Fault::Process(Process::ExhaustedInCommand(Resource::Descriptors)),
            SUCCESS,
        )
        .except(&[SwtpmUnix, Pcap, Loader], IO_ERROR_RECOVERS),
        row("malloc(3) fails during Init", Fault::Process(Process::ExhaustedInInit(Resource::Memory)), NO_MEMORY)
            .except(&[Libtpms, Stick], INIT_FAILS)
            .except(&[Pcap, Loader], NO_MEMORY_TO_LOAD),
        row("malloc(3) fails during a command", Fault::Process(Process::ExhaustedInCommand(Resource::Memory)), SUCCESS)
            .except(&[Libtpms], IN_LIBTPMS)
            .except(&[Stick], IN_LIBUSB),
        row(
            "malloc(3) fails after transmit, until the response is received",
            Fault::Process(Process::MemoryInReceive),
            SUCCESS,
        )
        .except(&[Libtpms], AFTER_LIBTPMS)
        .except(&[Stick], IN_LIBUSB),
        row(
            "malloc(3) fails during a receive without a command, the first error that is logged",
            Fault::Process(Process::MemoryInError),
            BAD_SEQUENCE,
        )
        .except(&[Libtpms], WITHOUT_LIBTPMS)
        .except(&[Stick], because(recovers(&[Code::BadSequence]), LIBUSB_ALLOCATES)),
        row("malloc(3) fails during SetLocality", Fault::Process(Process::MemoryInLocality), SUCCESS)
            .except(&[Libtpms], AFTER_LIBTPMS)
            .except(&[Cmd, Device], NOT_IMPLEMENTED)
            .except(&[Stick], because(recovers(&[Code::NotImplemented]), LIBUSB_ALLOCATES)),
        row("malloc(3) fails during Finalize", Fault::Process(Process::MemoryInFinalize), SUCCESS),
        row("The system clock is set back and forth during 200 commands", Fault::Process(Process::Clock), SUCCESS),
        row(
            "Thousands of contexts are initialized and finalized; no memory and no file descriptor is leaked",
            Fault::Process(Process::Contexts),
            SUCCESS,
        ),
        row(
            "stdin, stdout or stderr are closed, and everything is logged",
            Fault::Process(Process::ClosedStreams),
            SUCCESS,
        ),
        row(
            "The library is closed with dlclose(3) before the context is used",
            Fault::Process(Process::Dlclose),
            SUCCESS,
        ),
        row(
            "The process ends without Finalize, and another one uses the TPM",
            Fault::Process(Process::Leaves),
            SUCCESS,
        ),
        row(
            "The process is killed while a response is due, and another one uses the TPM",
            Fault::Process(Process::Killed),
            SUCCESS,
        ),
    ],
};

pub(super) const REFUSED: Table = Table {
    title: "The caller makes a call that is refused",
    text: "A response that is due is received afterwards. Locality 0 is valid, and is set for comparison.",
    columns: ALL,
    rows: &[
        row("Receive without a command", Fault::Misuse(Misuse::ReceiveFirst), BAD_SEQUENCE),
        row("Transmit while a response is due", Fault::Misuse(Misuse::TransmitTwice), BAD_SEQUENCE),
        row("SetLocality while a response is due", Fault::Misuse(Misuse::LocalityBetween), BAD_SEQUENCE)
            .except(NO_LOCALITY, NOT_IMPLEMENTED),
        row("SetLocality with 5, which is reserved", Fault::Misuse(Misuse::ReservedLocality), BAD_VALUE)
            .except(NO_LOCALITY, NOT_IMPLEMENTED),
        row("SetLocality with 0", Fault::Misuse(Misuse::Locality), SUCCESS).except(NO_LOCALITY, NOT_IMPLEMENTED),
    ],
};

pub(super) const FORKS: Table = Table {
    title: "The caller forks",
    text: "Both processes use the context, and each receives the responses to its own commands. With swtpm and keep=true, \
           mssim, cmd and device they share a connection, and a command waits until the exchange of the other process is \
           over; with the other modules each process has its own. Keys and sessions stay loaded: see `c-tests/forks.c`.",
    columns: ALL,
    rows: &[
        row("The child receives while the parent awaits a response", Fault::Forking(Forking::Receives), BAD_SEQUENCE),
        row(
            "The child sends a command while the parent awaits a response, which the parent receives meanwhile",
            Fault::Forking(Forking::Commands),
            SUCCESS,
        )
        .except(&[Stick], NOT_SHARED),
        row("The child finalizes while the parent awaits a response", Fault::Forking(Forking::Finalizes), SUCCESS),
        row(
            "The child sends a command between two commands of the parent",
            Fault::Forking(Forking::CommandsBetween),
            SUCCESS,
        )
        .except(&[Stick], NOT_SHARED),
        row(
            "The child sends a command and finalizes, then the parent sends a command",
            Fault::Forking(Forking::CommandsAndFinalizes),
            SUCCESS,
        ),
        row(
            "The child is killed while it awaits a response, then the parent sends a command",
            Fault::Forking(Forking::Killed),
            SUCCESS,
        ),
        row("The parent finalizes, then the child sends a command", Fault::Forking(Forking::ParentFinalizes), SUCCESS)
            .except(&[Stick], OPENED_BY_CHILD),
        row(
            "The parent ends without Finalize, then the child sends a command",
            Fault::Forking(Forking::ParentEnds),
            SUCCESS,
        )
        .except(&[Stick], NOT_SHARED),
        row(
            "The parent is killed while it awaits a response, then the child sends a command",
            Fault::Forking(Forking::ParentKilled),
            SUCCESS,
        )
        .except(&[Stick], NOT_SHARED),
    ],
};

/// The modules that do not implement SetLocality.
const NO_LOCALITY: &[Module] = &[Cmd, Device, Stick];
const BAD_VALUE: Cell = continues(&[Code::BadValue]);

const NOT_SHARED: Cell = because(
    IO_ERROR,
    "The stick belongs to the process that opened it, until that process finalizes or both have ended. The log says to open \
     it after the fork.",
);
const OPENED_BY_CHILD: Cell = because(SUCCESS, "The child opens the stick, which the parent has released.");

const LIBRARY_FIRST: &str = "`NOT_SUPPORTED` while the library of the underlying TCTI is not loaded.";
const NOT_LOADED: Cell = because(new_context(&[Code::IoError, Code::NotSupported]), LIBRARY_FIRST);
const NO_MEMORY_TO_LOAD: Cell = because(new_context(&[Code::Memory, Code::NotSupported]), LIBRARY_FIRST);
const NO_MEMORY: Cell = new_context(&[Code::Memory]);

const LIBTPMS_ALLOCATES: &str =
    "libtpms allocates memory in each command. Without memory a command fails, also with `MEMORY`.";
const IN_LIBTPMS: Cell = meanwhile(recovers(&[Code::IoError]), &[Code::Memory], LIBTPMS_ALLOCATES);
/// The call itself needs no memory, but commands fail until there is memory again.
const AFTER_LIBTPMS: Cell = meanwhile(SUCCESS_RECOVERS, &[Code::IoError], LIBTPMS_ALLOCATES);
const WITHOUT_LIBTPMS: Cell =
    meanwhile(recovers(&[Code::BadSequence]), &[Code::IoError, Code::Memory], LIBTPMS_ALLOCATES);

const LIBUSB_ALLOCATES: &str = "libusb allocates memory for each transfer. Without memory a command fails.";
const IN_LIBUSB: Cell = because(recovers(&[Code::IoError]), LIBUSB_ALLOCATES);
