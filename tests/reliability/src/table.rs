// SPDX-License-Identifier: BSD-2-Clause
//! The outcome that is promised, by fault and module. Each file of this module is a table of related faults.

mod answers;
mod away;
mod caller;
mod cells;
mod files;
mod usb;

use super::fault::Fault;
use super::module::Module;
use super::outcome::Cell;

/// Related faults.
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

/// The largest number of exceptions that a row has.
const MAX_EXCEPTIONS: usize = 4;

/// Returns a row with the same cell for all modules.
const fn row(what: &'static str, fault: Fault, usual: Cell) -> Row {
    Row { what, fault, usual, exceptions: [(&[], usual); MAX_EXCEPTIONS], count: 0 }
}

impl Row {
    /// Returns the row with another cell for `modules`.
    const fn except(mut self, modules: &'static [Module], cell: Cell) -> Row {
        self.exceptions[self.count] = (modules, cell);
        self.count += 1;
        self
    }

    /// Returns the cell of `module`.
    pub(super) fn cell(&self, module: Module) -> &Cell {
        let exception = self.exceptions.iter().find(|(modules, _)| modules.contains(&module));
        exception.map_or(&self.usual, |(_, cell)| cell)
    }
}

impl Table {
    /// Returns the modules with their cells of `row`, in the order of the columns.
    pub(super) fn cells<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = (Module, &'a Cell)> {
        self.columns.iter().map(|&module| (module, row.cell(module)))
    }

    /// Returns the name of the tests of `row`, to which the name of the module is added.
    pub(super) fn test_name(&self, row: &Row) -> String {
        format!("{}::{}", slug(self.title), slug(row.what))
    }

    /// Fails when a row names a module twice, or a module without a column.
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

/// Returns the words of a sentence, with underscores between them.
fn slug(sentence: &str) -> String {
    let words = sentence.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
}

/// All tables, in the order of the page.
pub const TABLES: &[Table] =
    &[answers::TABLE, away::TABLE, caller::PROCESS, caller::REFUSED, caller::FORKS, files::TABLE, usb::TABLE];
