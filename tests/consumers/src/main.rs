// SPDX-License-Identifier: BSD-2-Clause
//! The programs that use TCTI modules, unmodified, in a clean Debian in which apt has installed our packages in place
//! of the C ones. `cargo xtask consumers` prepares the parts of the [`machine`] and starts this program in namespaces
//! of its own. The tests of apt with each package come first ([`install`]), then each row of [`row::ROWS`], then the
//! way back to the C modules ([`back`]). An upgrade of the whole system is a run of its own ([`upgrade`]).
#![expect(clippy::unwrap_used, reason = "tests")]

mod back;
mod evidence;
mod install;
mod machine;
mod package;
mod row;
mod script;
mod table;
mod upgrade;

use libtest_mimic::{Arguments, Conclusion};
use std::process::ExitCode;
use std::sync::Arc;
use table::Table;
use tss2_kit::suite::Suite;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // For tests that change the machine, one after the other.
    let mut in_turn = arguments.clone();
    in_turn.test_threads = Some(1);
    machine::enter();
    if upgrade::is_requested() {
        let upgraded = run(&in_turn, upgrade::tests);
        return if upgraded.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }

    let alone = run(&in_turn, install::tests_alone);
    install::all();
    let table = Arc::new(Table::default());
    let rows = run(&arguments, |suite| {
        install::tests(suite);
        row::tests(suite, &table);
    });
    table.print();
    let back = run(&in_turn, |suite| {
        install::tests_update(suite);
        back::tests(suite);
    });
    let parts = [alone, rows, back];
    if parts.iter().all(|part| part.num_passed == 0) {
        eprintln!("no test was run; is the filter right?");
        return ExitCode::FAILURE;
    }
    if parts.iter().any(Conclusion::has_failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run(arguments: &Arguments, add: impl FnOnce(&mut Suite)) -> Conclusion {
    let mut suite = Suite::default();
    add(&mut suite);
    libtest_mimic::run(arguments, suite.into_trials())
}
