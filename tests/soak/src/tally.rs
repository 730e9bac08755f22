// SPDX-License-Identifier: BSD-2-Clause
//! The counts of a run, printed as a row of a Markdown table.

use crate::tools::Runs;
use std::fmt;

/// The columns of a row.
pub(crate) const HEAD: &str = "| module | commands sent | responses matched | ended by a fault | abandoned | refused | faults | \
                               survived | forks | killed | keys checked | tools | C on libtss2-esys | programs ended by a \
                               fault | wrong responses | lost keys | leaks | other failures | seconds | seed |\n\
                               |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// Counts of one run.
#[derive(Default)]
pub(crate) struct Tally {
    /// Commands that transmit accepted.
    pub(crate) sent: u64,
    /// Responses that were right.
    pub(crate) matched: u64,
    /// Commands that ended with an error because of a fault.
    pub(crate) ended: u64,
    /// Commands that were cancelled, or whose context was finalized.
    pub(crate) abandoned: u64,
    /// Commands that had to be refused, and were.
    pub(crate) refused: u64,
    /// Forked processes, and those of them that were killed.
    pub(crate) forks: u64,
    pub(crate) killed: u64,
    /// Responses from objects that are never flushed.
    pub(crate) kept: u64,
    /// Faults that affected something.
    pub(crate) faults: u64,
    /// Faults after which the context worked again.
    pub(crate) survived: u64,
    /// The other programs.
    pub(crate) runs: Runs,
    pub(crate) wrong: Vec<String>,
    /// Objects that were lost although nobody flushed them.
    pub(crate) lost: Vec<String>,
    pub(crate) leaks: Vec<String>,
    /// Errors without a fault, contexts that do not recover, and the like.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Adds a failure unless each command has ended in one way and each fault was survived.
    pub(crate) fn balance(&mut self) {
        let ends = self.matched + self.ended + self.abandoned + self.refused + u64::try_from(self.wrong.len()).unwrap();
        if !self.is_bad() && (self.matched == 0 || self.sent != ends || self.survived != self.faults) {
            self.failures.push("the counts do not add up".to_owned());
        }
    }

    /// Returns the texts of all failures.
    pub(crate) fn bad(&self) -> impl Iterator<Item = &String> {
        self.wrong.iter().chain(&self.lost).chain(&self.leaks).chain(&self.failures).chain(self.runs.bad())
    }

    /// Whether there was a failure.
    pub(crate) fn is_bad(&self) -> bool {
        self.bad().next().is_some()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { sent, matched, ended, abandoned, refused, faults, survived, forks, killed, kept, .. } = self;
        let Tally { runs, wrong, lost, leaks, failures, .. } = self;
        let Runs { tools, esys, ended: programs, wrong: outputs, failures: unexplained } = runs;
        let (wrong, lost, leaks) = (wrong.len() + outputs.len(), lost.len(), leaks.len());
        let failures = failures.len() + unexplained.len();
        write!(
            f,
            "{sent} | {matched} | {ended} | {abandoned} | {refused} | {faults} | {survived} | {forks} | {killed} | {kept} | \
             {tools} | {esys} | {programs} | {wrong} | {lost} | {leaks} | {failures}"
        )
    }
}
