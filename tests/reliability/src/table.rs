// SPDX-License-Identifier: BSD-2-Clause
//! What is promised, by module and fault: each of the files below is one kind of faults.

mod answers;
mod away;
mod caller;
mod cells;
mod files;
mod usb;

use super::fault::Fault;
use super::module::Module;
use super::outcome::Cell;

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

/// All tables.
pub const TABLES: &[Table] =
    &[answers::TABLE, away::TABLE, caller::PROCESS, caller::REFUSED, caller::FORKS, files::TABLE, usb::TABLE];
