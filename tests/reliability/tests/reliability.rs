// SPDX-License-Identifier: BSD-2-Clause
//! Tests the cells of `docs/reliability.md` that are observed on the host, and the page itself. `reliability relay SOCKET`
//! is the command for the TCTI cmd, and `reliability page` prints the page for `cargo xtask reliability`.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};
use tss2_reliability::{self as reliability, Environment};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    match &words[..] {
        [_, relay, socket] if relay == "relay" => return reliability::relay(Path::new(socket)),
        [_, page] if page == "page" => {
            print!("{}", reliability::document());
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let mut suite = Suite::default();
    reliability::tests(&mut suite, Environment::Host);
    suite.test("reliability::the_page_is_up_to_date", &[], page);
    let conclusion = libtest_mimic::run(&arguments, suite.into_trials());
    program::clean_up();
    conclusion.exit_code()
}

fn page() {
    let committed = fs::read_to_string(stage::repository().join(reliability::PATH)).unwrap_or_default();
    let what = format!("{} differs from the tests; run: cargo xtask reliability", reliability::PATH);
    output::assert_same(&what, &committed, &reliability::document());
}
