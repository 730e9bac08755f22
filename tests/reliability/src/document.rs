// SPDX-License-Identifier: BSD-2-Clause
//! `docs/reliability.md`.

use super::costs;
use super::outcome::Cell;
use super::table::{TABLES, Table};
use std::fmt::Write;

/// Where it is, below the root.
pub const PATH: &str = "docs/reliability.md";

const HEAD: &str = "\
# What goes wrong, and what comes of it

This page is written by `cargo xtask reliability` out of the tests in `tests/reliability/src/`; change those, not this
page. Each cell is a test of its own, which makes the fault happen to the module in a process of its own and looks at the
codes that the caller gets. It fails

* when a call does not return within a minute, Finalize within 20 seconds, or when the process dies;
* when an answer reaches another command than its own, or one of a scripted peer has another byte anywhere;
* when a receive after the fault answers anything but `BAD_SEQUENCE`;
* when something is printed on stdout;
* when there is one descriptor more or less than before: once the context works again, and once it is finalized or was not
  opened;
* when memory is lost: the fault happens four times to the same context, in the virtual machine twice, and what malloc(3) has
  given does not grow with each time. It happens once where it cannot happen again (a fork, the end of a program, what is
  closed) and where it takes long (1,000 signals, a clock that is set).

SIGPIPE has its default action, which ends a process.

A cell says what the call answers in which the fault shows (without `TSS2_TCTI_RC_`), and what comes after:

* **answers**: the caller notices nothing; the call does what it is for, and a response is the right one.
* **goes on**: the next command on the same context works.
* **when back**: commands fail until what was lost is there again, with one of these codes, `IO_ERROR` or `NO_CONNECTION`;
  then the first one works, on the same context.
* **new context**: the context is to be finalized or was not opened; a new one in the same process works.

In the tables with real TPMs a key is loaded before the fault, and the test fails when the same context has lost it afterwards.
Only where the TPM itself goes away it goes along; that is the table of this name, but for cmd, where it is the command that
ends.

A fault with several codes has several variants, and the test sees each of these codes and no other. Only where it says **by
chance** it is a race which of them comes, and the test sees one of them or more.

Where malloc(3) gives nothing, all that it had was taken, down to the smallest piece, and the process may map no more.

The columns device and spi-ltt2go, and what sets the clock, are tested in the virtual machine (`cargo xtask vm-test
reliability`), all else on the host.

## Modules without a column

* null has no TPM and opens nothing: what a context of it is asked is `NOT_IMPLEMENTED`, whatever happens around it.
* spi-helper and spidev are the code of spi-ltt2go above the bus, which `src/tis/` is. Below it there are the functions of the
  program, or an ioctl(2) of a driver for a SPI bus that the virtual machine has not. Faults of the bus are those of the
  unit tests in `src/tis/`, of the fuzzer tis and, through C functions, of `c-tests/spi-helper.c`.
* libtpms is in the process of the caller: it has no peer that could send something else, go away, or let it wait, and no
  column where these are the faults. Its file is.
";

/// The page.
pub fn document() -> String {
    let mut page = HEAD.to_owned();
    costs::show(&mut page).unwrap();
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
        let cells = table.cells(row).map(|(_, cell)| match cell {
            Cell::Ends(promise) => match promise.why {
                Some(why) => format!("{promise} {}", note(&mut notes, why.to_owned())),
                None => promise.to_string(),
            },
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
