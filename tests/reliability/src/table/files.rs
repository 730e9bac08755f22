// SPDX-License-Identifier: BSD-2-Clause
//! Files that modules read and write.

use super::cells::{INIT_FAILS, IO_ERROR_RECOVERS, SUCCESS};
use super::{Table, row};
use crate::fault::Fault;
use crate::files::Files;
use crate::module::Module::{Libtpms, Pcap};
use crate::outcome::{Cell, because};

pub(super) const TABLE: Table = Table {
    title: "Files",
    text: "The state file of libtpms, the capture of pcap. A capture that cannot be written is closed, with a warning; the TPM \
           goes on.",
    columns: &[Libtpms, Pcap],
    rows: &[
        row("The disk is full", Fault::Files(Files::Full), SUCCESS).except(&[Libtpms], HAS_ROOM),
        row("The disk is full when a context is opened", Fault::Files(Files::FullAtInit), INIT_FAILS),
        row("The process may write no larger file (RLIMIT_FSIZE)", Fault::Files(Files::Limit), SUCCESS)
            .except(&[Libtpms], IO_ERROR_RECOVERS),
        row("The file system becomes read-only", Fault::Files(Files::ReadOnly), IS_OPEN)
            .except(&[Pcap], OPEN_FOR_WRITING),
        row("The file system is read-only when a context is opened", Fault::Files(Files::ReadOnlyAtInit), INIT_FAILS),
        row("The file is damaged", Fault::Files(Files::Damaged), IO_ERROR_RECOVERS).except(&[Pcap], ONLY_WRITTEN),
        row("The file is damaged when a context is opened", Fault::Files(Files::DamagedAtInit), INIT_FAILS)
            .except(&[Pcap], ONLY_WRITTEN),
        row("The file is removed", Fault::Files(Files::Removed), MADE_AGAIN).except(&[Pcap], REMOVED),
    ],
};

const HAS_ROOM: Cell = because(SUCCESS, "The file has room for a state. One that grows beyond it is `IO_ERROR`.");
const IS_OPEN: Cell = because(SUCCESS, "The file is open for writing from the first command on.");
const OPEN_FOR_WRITING: Cell =
    Cell::Not("The kernel makes no file system read-only on which a file is open for writing.");
const MADE_AGAIN: Cell = because(SUCCESS, "The command makes it again, with the state of the same TPM.");
const REMOVED: Cell =
    because(SUCCESS, "What is recorded goes to the file that was removed; the next context makes another.");

const ONLY_WRITTEN: Cell = Cell::Not("The file is written, not read.");
