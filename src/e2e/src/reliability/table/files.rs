// SPDX-License-Identifier: BSD-2-Clause
//! Files that modules read and write.

use super::cells::{ANSWERS, IO_WHEN_BACK, NOT_OPENED};
use super::{Table, row};
use crate::reliability::fault::Fault;
use crate::reliability::files::Files;
use crate::reliability::module::Module;
use crate::reliability::outcome::Cell;

pub(super) const TABLE: Table = Table {
    title: "Files",
    text: "The state file of libtpms, the capture of pcap. A capture that cannot be written is closed, with a warning; the TPM \
           goes on.",
    columns: &[Module::Libtpms, Module::Pcap],
    rows: &[
        row("The disk is full", Fault::Files(Files::Full), &[IO_WHEN_BACK, ANSWERS]),
        row("The disk is full when a context is opened", Fault::Files(Files::FullAtInit), &[NOT_OPENED, NOT_OPENED]),
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
};

const ONLY_WRITTEN: Cell = Cell::Not("The file is written, not read.");
