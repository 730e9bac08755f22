// SPDX-License-Identifier: BSD-2-Clause
//! The table that is printed when all rows are through: what worked, in which version, on which of our libraries.

use crate::machine::{self, Installed};
use crate::row::{ROWS, Row};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// The rows that worked.
#[derive(Default)]
pub(crate) struct Table(Mutex<Vec<Line>>);

pub(crate) struct Line {
    pub(crate) row: &'static Row,
    pub(crate) served_by: BTreeSet<String>,
}

impl Table {
    pub(crate) fn add(&self, line: Line) {
        self.0.lock().unwrap().push(line);
    }

    /// In the order of [`ROWS`]. What was not run or failed is not in it.
    pub(crate) fn print(&self) {
        let installed = machine::installed();
        let lines = self.0.lock().unwrap();
        println!("| program | package | does | loaded TCTI libraries of |\n|---|---|---|---|");
        for line in ROWS.iter().filter_map(|row| lines.iter().find(|line| line.row.file == row.file)) {
            let Line { row, served_by } = line;
            let version = version(&installed, row.package);
            let libraries: Vec<&str> = served_by.iter().map(String::as_str).collect();
            println!("| {} | {} {version} | {} | {} |", row.name, row.package, row.does, libraries.join(", "));
        }
        println!("{} of {} rows are green", lines.len(), ROWS.len());
    }
}

/// In releases with 64-bit times the names of some packages end in t64.
fn version<'a>(installed: &'a Installed, package: &str) -> &'a str {
    let found = installed.get(package).or_else(|| installed.get(&format!("{package}t64")));
    found.map_or("", String::as_str)
}
