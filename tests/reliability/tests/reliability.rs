// SPDX-License-Identifier: BSD-2-Clause
//! The cells of `docs/reliability.md` that are observed on the host, and the page itself. Also the command for the TCTI
//! cmd, `reliability relay SOCKET`, and what `cargo xtask reliability` writes: `reliability page`.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};
use tss2_kit::suite::Suite;
use tss2_kit::{output, program, stage};
use tss2_reliability::{self as reliability, Place};

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
    reliability::tests(&mut suite, Place::Host);
    suite.test("reliability::the_page_says_so", &[], page);
    let conclusion = libtest_mimic::run(&arguments, suite.into_trials());
    program::clean_up();
    conclusion.exit_code()
}

fn page() {
    let committed = fs::read_to_string(stage::repository().join(reliability::PATH)).unwrap_or_default();
    let what = format!("{} is not what the tests say; run: cargo xtask reliability", reliability::PATH);
    output::assert_same(&what, &committed, &reliability::document());
}
