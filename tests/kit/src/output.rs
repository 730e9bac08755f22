// SPDX-License-Identifier: BSD-2-Clause
//! Runs programs and checks what they print. A failing test shows status and output.

use similar::TextDiff;
use std::process::{Command, Output};
use std::str::FromStr;

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

/// Runs a program that has to succeed. Returns its stdout.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}\n{}", show(&output));
    stdout(&output)
}

/// Formats status, stdout and stderr.
pub fn show(output: &Output) -> String {
    format!("{}\nstdout:\n{}\nstderr:\n{}", output.status, stdout(output), stderr(output))
}

/// Returns stdout as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns stderr as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the number that follows the word `name` in the output of a program.
pub fn number<T: FromStr>(printed: &str, name: &str) -> T {
    let number = printed.split_whitespace().skip_while(|word| *word != name).nth(1);
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {printed}"))
}

/// Checks the summary of a C test, `N passed, 0 failed`: N has to be `least` or more, so that a program that skips
/// checks does not pass.
pub fn passes(printed: &str, least: u32) {
    let passed = printed.trim().strip_suffix(" passed, 0 failed").and_then(|count| count.parse().ok());
    assert!(passed.is_some_and(|passed: u32| passed >= least), "expected at least {least} checks\n{printed}");
}

/// Fails when two texts differ, and shows the lines that do.
pub fn assert_same(what: &str, found: &str, expected: &str) {
    let diff = TextDiff::from_lines(expected, found);
    assert!(found == expected, "{what}\n{}", diff.unified_diff().header("expected", "found"));
}
