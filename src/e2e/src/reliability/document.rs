// SPDX-License-Identifier: BSD-2-Clause
//! `docs/reliability.md`.

use super::outcome::Cell;
use super::table::{TABLES, Table};
use std::fmt::Write;

/// Where it is, below the root.
pub const PATH: &str = "docs/reliability.md";

const HEAD: &str = "\
# What goes wrong, and what comes of it

This page is written by `cargo xtask reliability` out of the tests in `src/e2e/src/reliability/`; change those, not this
page. Each cell is a test of its own, which makes the fault happen to the module in a process of its own and looks at the
codes that the caller gets. It fails when a call does not return, when the process dies, when an answer reaches another
command than its own, when the context holds more descriptors afterwards than before, or when something is
printed on stdout. SIGPIPE has its default action, which ends a process.

A cell says what the call answers in which the fault shows (without `TSS2_TCTI_RC_`), and what comes after:

* **answers**: the caller notices nothing; the response is the right one.
* **goes on**: the next command on the same context works.
* **when back**: commands fail until what was lost is there again; then they work, on the same context.
* **new context**: the context is to be finalized or was not opened; a new one in the same process works.

The columns device, but for the first table, and spi-ltt2go, and what sets the clock, are tested in the virtual machine (`cargo xtask vm-test
reliability`), all else on the host.
";

/// The page.
pub fn document() -> String {
    let mut page = HEAD.to_owned();
    for table in TABLES {
        show(&mut page, table).unwrap();
    }
    page
}

fn show(page: &mut String, table: &Table) -> std::fmt::Result {
    let mut notes: Vec<String> = Vec::new();
    writeln!(page, "\n## {}\n\n{}\n", table.title, table.text)?;
    let heads: Vec<&str> = table.columns.iter().map(|module| module.title()).collect();
    writeln!(page, "| | {} |\n|{}", heads.join(" | "), "---|".repeat(heads.len() + 1))?;
    for row in table.rows {
        let cells = row.cells.iter().map(|cell| match cell {
            Cell::Ends(promise) => promise.to_string(),
            Cell::Not(reason) => note(&mut notes, (*reason).to_owned()),
            Cell::Unit(file, name) => {
                note(&mut notes, format!("Held by a test of the module, {name} in `src/{file}`."))
            }
        });
        let cells: Vec<String> = cells.collect();
        writeln!(page, "| {} | {} |", row.what, cells.join(" | "))?;
    }
    for (at, text) in notes.iter().enumerate() {
        writeln!(page, "\n({}) {text}", at + 1)?;
    }
    Ok(())
}

/// Where in the notes that is.
fn note(notes: &mut Vec<String>, text: String) -> String {
    let at = notes.iter().position(|note| *note == text).unwrap_or_else(|| {
        notes.push(text);
        notes.len() - 1
    });
    format!("({})", at + 1)
}
