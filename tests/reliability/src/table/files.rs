// SPDX-License-Identifier: BSD-2-Clause
//! Files that modules read and write.

use super::cells::{ANSWERS, IO_WHEN_BACK, NOT_OPENED};
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
        row("The disk is full", Fault::Files(Files::Full), ANSWERS).except(&[Libtpms], HAS_ROOM),
        row("The disk is full when a context is opened", Fault::Files(Files::FullAtInit), NOT_OPENED),
        row("The process may write no larger file (RLIMIT_FSIZE)", Fault::Files(Files::Limit), ANSWERS)
            .except(&[Libtpms], IO_WHEN_BACK),
        row("The file system becomes read-only", Fault::Files(Files::ReadOnly), IS_OPEN)
            .except(&[Pcap], OPEN_FOR_WRITING),
        row("The file system is read-only when a context is opened", Fault::Files(Files::ReadOnlyAtInit), NOT_OPENED),
        row("The file is damaged", Fault::Files(Files::Damaged), IO_WHEN_BACK).except(&[Pcap], ONLY_WRITTEN),
        row("The file is damaged when a context is opened", Fault::Files(Files::DamagedAtInit), NOT_OPENED)
            .except(&[Pcap], ONLY_WRITTEN),
        row("The file is removed", Fault::Files(Files::Removed), MADE_AGAIN).except(&[Pcap], REMOVED),
    ],
};

const HAS_ROOM: Cell = because(ANSWERS, "The file has room for a state. One that grows beyond it is `IO_ERROR`.");
const IS_OPEN: Cell = because(ANSWERS, "The file is open for writing from the first command on.");
const OPEN_FOR_WRITING: Cell =
    Cell::Not("The kernel makes no file system read-only on which a file is open for writing.");
const MADE_AGAIN: Cell = because(ANSWERS, "The command makes it again, with the state of the same TPM.");
const REMOVED: Cell =
    because(ANSWERS, "What is recorded goes to the file that was removed; the next context makes another.");

const ONLY_WRITTEN: Cell = Cell::Not("The file is written, not read.");
