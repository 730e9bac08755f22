// SPDX-License-Identifier: BSD-2-Clause
//! Faults around a TCTI and their outcome: for each module and fault, `table` promises which code the caller gets and
//! whether the context works afterwards. Each cell is a test ([`tests`]), on the host or in the virtual machine;
//! [`document()`] shows the tables.
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
mod stick;
mod table;
mod usb;

pub use document::{PATH, document};
pub use module::Environment;
pub use program::program;
pub use relay::relay;
pub use table::TABLES;

use outcome::Cell;
use std::fs;
use tss2_kit::stage;
use tss2_kit::suite::Suite;

/// Adds a test for each cell that can be observed at `place`.
pub fn tests(suite: &mut Suite, environment: Environment) {
    costs::check();
    for table in TABLES {
        table.check();
        for row in table.rows {
            for (module, cell) in table.cells(row) {
                let promise = match cell {
                    Cell::Ends(promise) => promise,
                    Cell::Not(_) => continue,
                    Cell::Unit(file, name) => {
                        let text = fs::read_to_string(stage::repository().join("src").join(file)).unwrap_or_default();
                        assert!(
                            text.contains(&format!("fn {name}() {{")),
                            "src/{file} has no test {name}, which a table of tests/reliability names"
                        );
                        continue;
                    }
                };
                if row.fault.environment().unwrap_or_else(|| module.environment()) != environment {
                    continue;
                }
                let needs = [module.needs(), row.fault.needs()].concat();
                suite.test(format!("reliability::{}::{}", table.test_name(row), module.slug()), &needs, move || {
                    let seen = row.fault.observe(module);
                    assert!(seen.keeps(promise), "seen: {seen}; promised: {promise}");
                    let key = row.fault.leaves(module);
                    assert!(seen.has(key), "the key that was loaded is not as promised: {key:?}");
                });
            }
        }
    }
}
