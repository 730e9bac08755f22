// SPDX-License-Identifier: BSD-2-Clause
//! The programs that use TCTI modules, unmodified, in a clean Debian 12 in which apt has put our packages in the place of
//! the C ones. `cargo xtask consumers` prepares what [`machine`] puts together, and starts this in name spaces of its
//! own. Each row of [`row::ROWS`] is a test; then comes the way back to the C modules.
#![expect(clippy::unwrap_used, reason = "tests")]

mod back;
mod evidence;
mod machine;
mod row;
mod script;
mod table;

use std::process::ExitCode;
use std::sync::Arc;
use table::Table;
use tss2_e2e::suite::Suite;

fn main() -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    machine::enter();
    machine::install();

    let table = Arc::new(Table::default());
    let mut suite = Suite::default();
    row::tests(&mut suite, &table);
    let rows = libtest_mimic::run(&arguments, suite.into_trials());
    table.print();

    // These change the machine one after the other.
    arguments.test_threads = Some(1);
    let mut suite = Suite::default();
    back::tests(&mut suite);
    let back = libtest_mimic::run(&arguments, suite.into_trials());
    if rows.num_passed + back.num_passed == 0 {
        eprintln!("no test was run; is the filter right?");
        return ExitCode::FAILURE;
    }
    if rows.has_failed() || back.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
