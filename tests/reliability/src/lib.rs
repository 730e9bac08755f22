// SPDX-License-Identifier: BSD-2-Clause
//! What goes wrong around a TCTI, and what comes of it: [`table`] says for each module and fault which code a caller
//! gets and whether the context goes on. Each cell is a test ([`tests`]), on the host or in the virtual machine, and
//! [`document`] is made of them.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod answers;
mod case;
mod clock;
mod costs;
mod death;
mod document;
mod fault;
mod files;
mod forking;
mod misuse;
mod module;
mod outcome;
mod peer;
mod process;
mod program;
mod relay;
mod reply;
mod server;
mod table;
mod usb;

pub use document::{PATH, document};
pub use module::Place;
pub use program::program;
pub use relay::relay;
pub use table::TABLES;

use outcome::Cell;
use std::fs;
use tss2_kit::stage;
use tss2_kit::suite::Suite;

/// The cells that are observed here.
pub fn tests(suite: &mut Suite, place: Place) {
    costs::check();
    for table in TABLES {
        table.check();
        for row in table.rows {
            for (module, cell) in table.cells(row) {
                let wanted = match cell {
                    Cell::Ends(wanted) => wanted,
                    Cell::Not(_) => continue,
                    Cell::Unit(file, name) => {
                        let text = fs::read_to_string(stage::repository().join("src").join(file)).unwrap_or_default();
                        assert!(text.contains(&format!("fn {name}() {{")), "{file} has no test {name}");
                        continue;
                    }
                };
                if row.fault.place().unwrap_or_else(|| module.place()) != place {
                    continue;
                }
                let needs = [module.needs(), row.fault.needs()].concat();
                suite.test(format!("reliability::{}::{}", row.slug(), module.slug()), &needs, move || {
                    let seen = row.fault.observe(module);
                    assert!(seen.keeps(wanted), "seen: {seen}; promised: {wanted}");
                    let key = row.fault.leaves(module);
                    assert!(seen.has(key), "the key: promised {key:?}, and it is not so");
                });
            }
        }
    }
}
