// SPDX-License-Identifier: BSD-2-Clause
//! Writes `docs/reliability.md`.

use super::costs;
use super::outcome::Cell;
use super::table::{TABLES, Table};
use std::fmt::Write;

/// The path of the page, relative to the root of the repository.
pub const PATH: &str = "docs/reliability.md";

const HEAD: &str = "\
# Faults and their outcome

`cargo xtask reliability` writes this page from the tests in `tests/reliability/src/`; change those, not this page.
Each cell is a test of its own: it makes the fault happen to the module, in a process of its own, and checks the response codes that the caller gets.
A test fails

* when a call does not return within a minute, when Finalize does not return within 20 seconds, or when the process dies;
* when a command gets the response to another command, or when any byte of a scripted peer's response is wrong;
* when a receive after the fault returns anything but `BAD_SEQUENCE`;
* when something is printed on stdout;
* when the number of open file descriptors differs from before: once the context works again, and once it is finalized or was not initialized;
* when memory leaks: the fault happens four times to the same context (twice in the virtual machine), and the memory that malloc(3) has handed out must not grow each time.
  A fault happens only once where it cannot be repeated (a fork, the end of a program, a library that is closed) and where it takes long (1,000 signals, a system clock that is set).

SIGPIPE has its default action, which ends a process.

A cell shows the return code of the call in which the fault appears (without `TSS2_TCTI_RC_`) and what the context does afterwards:

* **success**: the caller notices nothing; the call does its work, and a response is the right one.
* **continues**: the next command on the same context works.
* **recovers**: commands fail with one of these codes, `IO_ERROR` or `NO_CONNECTION` until the cause is removed; then the first command on the same context works.
* **new context**: the context has to be finalized or was not initialized; a new one in the same process works.

In the tables with real TPMs a key is loaded before the fault, and the test fails when the same context has lost it afterwards.
The key is lost only with the TPM itself, in the table \"The TPM goes away\"; with cmd it survives even there, because only the command exits and its TPM keeps running.

A fault with several codes has several variants: the test sees each of these codes and no other.
Only where a cell says **(race)** does chance decide which of the codes is returned, and the test sees at least one of them.

Where malloc(3) fails, the test has allocated all memory that was left, down to the smallest piece, and the process may map no more.

The columns device and spi-ltt2go, and the rows in which the system clock is set, are tested in the virtual machine (`cargo xtask vm-test reliability`), all others on the host.

## Modules without a column

* null has no TPM and opens nothing: a context of it returns `NOT_IMPLEMENTED`, whatever happens around it.
* spi-helper and spidev share all code above the SPI bus, in `src/tis/`, with spi-ltt2go.
  Below it are the functions of the program, or the ioctl(2) of an SPI driver that the virtual machine does not have.
  Faults of the bus are covered by the unit tests in `src/tis/`, by the fuzzer tis and, through C functions, by `c-tests/spi-helper.c`.
* libtpms runs in the process of the caller: it has no peer that could send a malformed response, go away or keep it waiting, so it has no column in those tables.
  Its state file has one.
";

/// Returns the text of the page.
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
    writeln!(page, "\n## {}\n\n{}\n", table.title, one_sentence_per_line(table.text))?;
    let headings: Vec<&str> = table.columns.iter().map(|module| module.title()).collect();
    writeln!(page, "| | {} |\n|{}", headings.join(" | "), "---|".repeat(headings.len() + 1))?;
    for row in table.rows {
        let cells = table.cells(row).map(|(_, cell)| match cell {
            Cell::Ends(promise) => match promise.why {
                Some(why) => format!("{promise} {}", note(&mut notes, why.to_owned())),
                None => promise.to_string(),
            },
            Cell::Not(reason) => note(&mut notes, (*reason).to_owned()),
            Cell::Unit(file, name) => {
                note(&mut notes, format!("Tested by a unit test of the module, {name} in `src/{file}`."))
            }
        });
        let cells: Vec<String> = cells.collect();
        writeln!(page, "| {} | {} |", row.what, cells.join(" | "))?;
    }
    for (at, text) in notes.iter().enumerate() {
        writeln!(page, "\n({}) {}", at + 1, one_sentence_per_line(text))?;
    }
    Ok(())
}

/// Returns the number of a note, which is added unless it exists.
fn note(notes: &mut Vec<String>, text: String) -> String {
    let at = notes.iter().position(|note| *note == text).unwrap_or_else(|| {
        notes.push(text);
        notes.len() - 1
    });
    format!("({})", at + 1)
}

/// Breaks a text where a sentence ends.
pub(super) fn one_sentence_per_line(text: &str) -> String {
    text.replace(". ", ".\n")
}
