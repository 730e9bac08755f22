// SPDX-License-Identifier: BSD-2-Clause
//! Faults of the files that modules read and write.

use super::cells::{INIT_FAILS, IO_ERROR_RECOVERS, SUCCESS};
use super::{Table, row};
use crate::fault::Fault;
use crate::files::Files;
use crate::module::Module::{Libtpms, Pcap};
use crate::outcome::{Cell, because};

pub(super) const TABLE: Table = Table {
    title: "A file cannot be used",
    text: "The state file of libtpms and the capture of pcap. A capture that cannot be written is closed with a warning; \
           commands still work.",
    columns: &[Libtpms, Pcap],
    rows: &[
        row("The disk is full", Fault::Files(Files::Full), SUCCESS).except(&[Libtpms], HAS_ROOM),
        row("The disk is full during Init", Fault::Files(Files::FullAtInit), INIT_FAILS),
        row("The file has reached RLIMIT_FSIZE", Fault::Files(Files::Limit), IO_ERROR_RECOVERS)
            .except(&[Pcap], SUCCESS),
        row("The file system becomes read-only", Fault::Files(Files::ReadOnly), ALREADY_OPEN)
            .except(&[Pcap], STAYS_WRITABLE),
        row("The file system is read-only during Init", Fault::Files(Files::ReadOnlyAtInit), INIT_FAILS),
        row("The file is damaged", Fault::Files(Files::Damaged), IO_ERROR_RECOVERS).except(&[Pcap], NEVER_READ),
        row("The file is damaged before Init", Fault::Files(Files::DamagedAtInit), INIT_FAILS)
            .except(&[Pcap], NEVER_READ),
        row("The file is removed", Fault::Files(Files::Removed), CREATED_AGAIN).except(&[Pcap], STAYS_OPEN),
    ],
};

const HAS_ROOM: Cell =
    because(SUCCESS, "The file has room for a state. A command that makes the state outgrow it returns `IO_ERROR`.");
const ALREADY_OPEN: Cell = because(SUCCESS, "The file has been open for writing since the first command.");
const STAYS_WRITABLE: Cell =
    Cell::Not("The kernel does not make a file system read-only while one of its files is open for writing.");
const CREATED_AGAIN: Cell = because(SUCCESS, "The command creates the file again, with the state of the same TPM.");
const STAYS_OPEN: Cell =
    because(SUCCESS, "The context goes on writing to the removed file; the next context creates another one.");
const NEVER_READ: Cell = Cell::Not("The file is written, never read.");
