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
    /// The cell of each module that is not an exception.
    usual: Cell,
    /// Modules with another cell.
    exceptions: [(&'static [Module], Cell); MAX_EXCEPTIONS],
    count: usize,
}

/// No row has more.
const MAX_EXCEPTIONS: usize = 4;

/// A row in which all modules have the same cell.
const fn row(what: &'static str, fault: Fault, usual: Cell) -> Row {
    Row { what, fault, usual, exceptions: [(&[], usual); MAX_EXCEPTIONS], count: 0 }
}

impl Row {
    /// The same row with another cell for these modules.
    const fn except(mut self, modules: &'static [Module], cell: Cell) -> Row {
        self.exceptions[self.count] = (modules, cell);
        self.count += 1;
        self
    }

    /// The cell of `module`.
    pub(super) fn cell(&self, module: Module) -> &Cell {
        let exception = self.exceptions.iter().find(|(modules, _)| modules.contains(&module));
        exception.map_or(&self.usual, |(_, cell)| cell)
    }

    /// Its part of the name of a test.
    pub(super) fn slug(&self) -> String {
        let words = self.what.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
    }
}

impl Table {
    /// The modules with the cells of `row`, in the order of the columns.
    pub(super) fn cells<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = (Module, &'a Cell)> {
        self.columns.iter().map(|&module| (module, row.cell(module)))
    }

    /// Fails when a row names a module twice, or one that has no column.
    pub(super) fn check(&self) {
        for row in self.rows {
            let named: Vec<Module> = row.exceptions.iter().flat_map(|(modules, _)| *modules).copied().collect();
            for (at, module) in named.iter().enumerate() {
                assert!(self.columns.contains(module), "{}: {module:?} has no column in this table", row.what);
                assert!(!named[..at].contains(module), "{}: {module:?} has two cells", row.what);
            }
        }
    }
}

/// All tables.
pub const TABLES: &[Table] =
    &[answers::TABLE, away::TABLE, caller::PROCESS, caller::REFUSED, caller::FORKS, files::TABLE, usb::TABLE];
