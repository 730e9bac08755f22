// SPDX-License-Identifier: BSD-2-Clause
//! What a program printed and how it ended, in a form that a failing test can show.

use similar::TextDiff;
use std::process::{Command, Output};
use std::str::FromStr;

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

/// Runs a program that has to succeed and gives what it printed on stdout.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}\n{}", show(&output));
    stdout(&output)
}

/// Status and both streams.
pub fn show(output: &Output) -> String {
    format!("{}\nstdout:\n{}\nstderr:\n{}", output.status, stdout(output), stderr(output))
}

/// What was printed on stdout.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What was printed on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The number behind a word, in what a program printed.
pub fn number<T: FromStr>(printed: &str, name: &str) -> T {
    let number = printed.split_whitespace().skip_while(|word| *word != name).nth(1);
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {printed}"))
}

/// Holds the last line of a C test against the fewest checks that it has: a program that skips them does not pass.
pub fn passes(printed: &str, least: u32) {
    let passed = printed.trim().strip_suffix(" passed, 0 failed").and_then(|count| count.parse().ok());
    assert!(passed.is_some_and(|passed: u32| passed >= least), "wanted {least} checks at least\n{printed}");
}

/// Compares two texts line by line and shows where they differ.
pub fn assert_same(what: &str, found: &str, expected: &str) {
    let diff = TextDiff::from_lines(expected, found);
    assert!(found == expected, "{what}\n{}", diff.unified_diff().header("expected", "found"));
}
