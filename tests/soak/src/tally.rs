// SPDX-License-Identifier: BSD-2-Clause
//! What came of it all: counts, and a row of a Markdown table.

use crate::tools::Runs;
use std::fmt;

/// The columns of a row.
pub(crate) const HEAD: &str = "| module | commands sent | answers matched | ended by a fault | given up | refused | faults | \
                               survived | forks | killed | keys checked | tools | C on libtss2-esys | programs ended by a \
                               fault | wrong answers | lost keys | leaks | other failures | seconds | seed |\n\
                               |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// Counts of one run.
#[derive(Default)]
pub(crate) struct Tally {
    /// Commands that transmit took.
    pub(crate) sent: u64,
    /// Answers that were the right ones.
    pub(crate) matched: u64,
    /// Commands that an error ended, under a fault.
    pub(crate) ended: u64,
    /// Commands that we cancelled, or finalized the context of.
    pub(crate) given_up: u64,
    /// Commands that were to be refused, and were.
    pub(crate) refused: u64,
    /// Processes that were forked, and those of them that were killed.
    pub(crate) forks: u64,
    pub(crate) killed: u64,
    /// Answers of objects that were loaded to stay.
    pub(crate) kept: u64,
    /// Faults that something met.
    pub(crate) faults: u64,
    /// Faults after which the context worked again.
    pub(crate) survived: u64,
    /// Other programs.
    pub(crate) runs: Runs,
    pub(crate) wrong: Vec<String>,
    /// Objects that were loaded to stay, and did not.
    pub(crate) lost: Vec<String>,
    pub(crate) leaks: Vec<String>,
    /// Errors without a fault, contexts that do not work again, and the like.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Each command has one end, and each fault was survived; else that is a failure, too.
    pub(crate) fn balance(&mut self) {
        let ends = self.matched + self.ended + self.given_up + self.refused + u64::try_from(self.wrong.len()).unwrap();
        if !self.is_bad() && (self.matched == 0 || self.sent != ends || self.survived != self.faults) {
            self.failures.push("the counts do not add up".to_owned());
        }
    }

    /// All that must not happen, in words.
    pub(crate) fn bad(&self) -> impl Iterator<Item = &String> {
        self.wrong.iter().chain(&self.lost).chain(&self.leaks).chain(&self.failures).chain(self.runs.bad())
    }

    /// Whether there was any of it.
    pub(crate) fn is_bad(&self) -> bool {
        self.bad().next().is_some()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { sent, matched, ended, given_up, refused, faults, survived, forks, killed, kept, .. } = self;
        let Tally { runs, wrong, lost, leaks, failures, .. } = self;
        let Runs { tools, esys, ended: programs, wrong: outputs, failures: unexplained } = runs;
        let (wrong, lost, leaks) = (wrong.len() + outputs.len(), lost.len(), leaks.len());
        let failures = failures.len() + unexplained.len();
        write!(
            f,
            "{sent} | {matched} | {ended} | {given_up} | {refused} | {faults} | {survived} | {forks} | {killed} | {kept} | \
             {tools} | {esys} | {programs} | {wrong} | {lost} | {leaks} | {failures}"
        )
    }
}
